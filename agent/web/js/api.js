// SPDX-License-Identifier: Apache-2.0
// Requests to the agent's REST API. Throws a Problem for whatever is not a success.

const BASE = 'api/v1';
const TIMEOUT_MS = 20000;
const RETRIES_WHEN_BUSY = 4;

/** status 0: no answer came. code: as in docs/spec/rest.md. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.code = body.code ?? '';
    this.title = body.title ?? '';
  }
}

let token = null;
let onUnauthorized = () => {};

export function setToken(value) {
  token = value;
}

export function whenUnauthorized(callback) {
  onUnauthorized = callback;
}

export const tag = (revision) => `"${revision}"`;

export function authorized(headers = {}) {
  return token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
}

export const url = (path) => `${BASE}${path}`;

function headersOf({ method, body, ifMatch, ifNoneMatch }) {
  const headers = authorized({ Accept: 'application/json' });
  if (body !== undefined) {
    headers['Content-Type'] =
      method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
  }
  if (ifMatch !== undefined) headers['If-Match'] = ifMatch;
  if (ifNoneMatch !== undefined) headers['If-None-Match'] = ifNoneMatch;
  return headers;
}

async function bodyOf(response) {
  try {
    return await response.json();
  } catch {
    return {};
  }
}

/** The Problem of an answer that is no success; a lost session shows the login page. */
export async function problemOf(response) {
  const problem = new Problem(response.status, await bodyOf(response));
  if (response.status === 401) onUnauthorized(problem);
  return problem;
}

const wait = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

async function answer(path, request, signal) {
  const { method = 'GET', body } = request;
  try {
    return await fetch(url(path), {
      method,
      headers: headersOf(request),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ?? AbortSignal.timeout(request.timeoutMs ?? TIMEOUT_MS),
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, {
      detail:
        method === 'GET'
          ? 'The agent does not answer.'
          : 'The agent did not answer. Look at the present state before you try again.',
    });
  }
}

// The reply, with its ETag beside what it says.
async function replyOf(response) {
  const body = await bodyOf(response);
  return Object.defineProperty(body, 'etag', { value: response.headers.get('ETag') });
}

/** request: {method, path, body, ifMatch, ifNoneMatch, timeoutMs}; the parsed reply, its ETag in `etag`. */
export async function send(request, { dryRun = false, signal } = {}) {
  const path = dryRun
    ? `${request.path}${request.path.includes('?') ? '&' : '?'}dry_run=true`
    : request.path;
  for (let attempt = 0; ; attempt++) {
    const response = await answer(path, request, signal);
    if (response.ok) return replyOf(response);
    if (response.status !== 429 || attempt >= RETRIES_WHEN_BUSY) throw await problemOf(response);
    await wait(1000 * Math.min(5, Number(response.headers.get('Retry-After')) || 1));
  }
}

export const get = (path, signal) => send({ path }, { signal });

export const vmPath = (id, rest = '') => `/vms/${Number(id)}${rest}`;
export const gpuPath = (id, rest = '') => `/gpus/${Number(id)}${rest}`;
export const poolPath = (name, rest = '') => `/pools/${encodeURIComponent(name)}${rest}`;

/** All VMs, page by page. */
export async function allVms() {
  const vms = [];
  let after = 0;
  for (;;) {
    const page = await get(`/vms?limit=1024&after=${after}`);
    vms.push(...page.vms);
    if (page.next === null || page.vms.length === 0) return vms;
    after = page.next;
  }
}
