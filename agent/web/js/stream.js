// SPDX-License-Identifier: Apache-2.0
// Keeps the event stream open while somebody is signed in: reads it by fetch(), connects again
// after growing pauses, and says in store.connection how it stands.
import { effect, signal, untracked } from './lib.js';
import { authorized, problemOf, url } from './api.js';
import { SseParser, backoff } from './sse.js';
import * as store from './store.js';

const SILENCE_MS = 40000; // the agent sends a comment each 15 s
const HIDDEN_MS = 30000; // a page that nobody sees gives its connection back
const SETTLE_MS = 60; // several events of one change cause one reading

const CONFIG_KINDS = new Set([
  'config-changed',
  'vm-quarantined',
  'vm-released',
  'gpu-missing',
  'gpu-returned',
  'gpu-drained',
  'gpu-resumed',
  'mediator-started',
  'fault',
]);

let lastId = null;
let settle = null;

function loadSoon() {
  clearTimeout(settle);
  settle = setTimeout(store.load, SETTLE_MS);
}

function onEvent({ type, data, id }) {
  if (id) lastId = id;
  const value = JSON.parse(data);
  if (type === 'state') {
    store.takeStatus(value);
    if (store.loaded.value && store.isBehind()) loadSoon();
  }
  if (type === 'mediator') {
    store.mediatorUp.value = value.up;
    loadSoon(); // what was asked before it may still come, and say otherwise
  }
  if (type === 'gap') loadSoon();
  if (type === 'event') {
    store.takeEvent(value);
    if (CONFIG_KINDS.has(value.kind)) loadSoon();
    if (value.kind === 'gpu-health') store.loadHealth();
  }
}

function say(state, next = null) {
  const before = store.connection.value;
  const since = before.state === state ? before.since : Date.now();
  store.connection.value = { state, since, next };
}

async function readStream(abort) {
  const headers = authorized({ Accept: 'text/event-stream' });
  if (lastId) headers['Last-Event-ID'] = lastId;
  const response = await fetch(url('/events'), {
    headers,
    signal: abort.signal,
    cache: 'no-store',
    credentials: 'omit',
    redirect: 'error',
  });
  if (!response.ok) throw await problemOf(response);
  say('live');
  store.load();
  const parser = new SseParser(onEvent);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const silence = setTimeout(() => abort.abort(), SILENCE_MS);
    try {
      const { done, value } = await reader.read();
      if (done) return;
      parser.push(value);
    } finally {
      clearTimeout(silence);
    }
  }
}

function pause(ms, session) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const now = () => {
      clearTimeout(timer);
      resolve();
    };
    session.wake = now;
    session.signal.addEventListener('abort', now, { once: true });
  });
}

async function keepOpen(session) {
  let attempt = 0;
  while (!session.signal.aborted) {
    const abort = new AbortController();
    const end = () => abort.abort();
    session.signal.addEventListener('abort', end, { once: true });
    const began = Date.now();
    try {
      await readStream(abort);
    } catch {
      // Whatever ended it, the next attempt shows whether it lasts.
    }
    session.signal.removeEventListener('abort', end);
    if (session.signal.aborted) return;
    attempt = Date.now() - began > 10000 ? 0 : attempt + 1;
    const ms = backoff(attempt - 1 < 0 ? 0 : attempt - 1);
    say('lost', Date.now() + ms);
    await pause(ms, session);
  }
}

let current = null;

/** Tries at once, for the button beside "connection lost". */
export function connectNow() {
  current?.wake?.();
}

const seen = signal(true);

function followVisibility() {
  let timer = null;
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (document.hidden)
      timer = setTimeout(() => {
        seen.value = false;
      }, HIDDEN_MS);
    else seen.value = true;
  });
}

let tokenBefore = null;

/** Follows store.token: a stream for each session, while the page is seen. */
export function startStream() {
  followVisibility();
  effect(() => {
    if (!store.token.value || !seen.value) return undefined;
    const abort = new AbortController();
    const session = { signal: abort.signal, wake: null };
    current = session;
    if (store.token.value !== tokenBefore) lastId = null;
    tokenBefore = store.token.value;
    untracked(() => {
      say('connecting');
      keepOpen(session);
    });
    return () => abort.abort();
  });
  window.addEventListener('online', connectNow);
}
