// SPDX-License-Identifier: Apache-2.0
// What the panel knows, as signals: the configuration (read when it changes), the live state (from
// the event stream), the session, and where the person is. Views read it; nothing else is shared.
import { batch, computed, signal } from './lib.js';
import { Problem, allVms, get, setToken } from './api.js';
import { reconcile, reconcileList } from './reconcile.js';

const TOKEN_KEY = 'vgpu-token';
const THEME_KEY = 'vgpu-theme';
/** More than a host can have. */
export const VMS_MAX = 1e6;
const EVENTS_KEPT = 500;
const ROLES = ['read', 'operate', 'admin'];

export const token = signal(sessionStorage.getItem(TOKEN_KEY));
export const loginError = signal(null);
export const theme = signal(localStorage.getItem(THEME_KEY) ?? 'auto');
export const route = signal('/');

export const host = signal(null);
export const gpus = signal([]);
export const pools = signal([]);
export const vms = signal([]);
export const health = signal(new Map());
export const capacity = signal(new Map());
export const live = signal({ mediator: null, gpus: [], pools: [], vms: [] });
export const events = signal([]);
export const loaded = signal(false);
export const loadError = signal(null);

/** 'connecting', 'live', 'lost'; since: when it became so (ms); next: of the next attempt (ms). */
export const connection = signal({ state: 'connecting', since: Date.now(), next: null });
export const mediatorUp = signal(true);

/** What this session changed, newest first: {id, text, time, undo: spec or null, undone}. */
export const ownChanges = signal([]);
export const toasts = signal([]);
/** The change that is being made: a spec of actions.js, or null. */
export const dialog = signal(null);

export const role = computed(() => host.value?.you?.role ?? 'read');
export const may = (needed) => ROLES.indexOf(role.value) >= ROLES.indexOf(needed);

const byId = (list, key) => new Map(list.map((item) => [item[key], item]));

const liveVms = computed(() => byId(live.value.vms, 'vm_id'));
const liveGpus = computed(() => byId(live.value.gpus, 'gpu_id'));
let rowsBefore = [];

const LIVE_MEMBERS = [
  'state',
  'gpu_id',
  'share',
  'entitlement',
  'queue_depth',
  'jobs_done',
  'jobs_failed',
  'jobs_refused',
  'channels',
  'faults',
];

function vmRow(vm) {
  const now = liveVms.value.get(vm.vm_id);
  const row = { ...vm, used_bytes: now?.memory_bytes ?? null };
  for (const member of LIVE_MEMBERS) {
    if (now && now[member] !== undefined) row[member] = now[member];
    else row[member] ??= null;
  }
  if (row.quarantined) row.state = 'quarantined';
  return row;
}

/** Configuration and live state of each VM in one; a row that is equal stays the same object. */
export const vmRows = computed(() => {
  rowsBefore = reconcileList(rowsBefore, vms.value.map(vmRow), 'vm_id');
  return rowsBefore;
});

let gpuRowsBefore = [];

export const gpuRows = computed(() => {
  const rows = gpus.value.map((gpu) => ({
    ...gpu,
    live: liveGpus.value.get(gpu.gpu_id) ?? null,
    health: health.value.get(gpu.gpu_id) ?? null,
  }));
  gpuRowsBefore = reconcileList(gpuRowsBefore, rows, 'gpu_id');
  return gpuRowsBefore;
});

export const vmsByPool = computed(() => {
  const groups = new Map(pools.value.map((pool) => [pool.pool, []]));
  for (const row of vmRows.value) {
    if (!groups.has(row.pool)) groups.set(row.pool, []);
    groups.get(row.pool).push(row);
  }
  return groups;
});

export function signIn(value) {
  setToken(value);
  sessionStorage.setItem(TOKEN_KEY, value);
  batch(() => {
    token.value = value;
    loginError.value = null;
  });
}

export function signOut(problem = null) {
  setToken(null);
  sessionStorage.removeItem(TOKEN_KEY);
  batch(() => {
    token.value = null;
    loginError.value = problem;
    host.value = null;
    gpus.value = [];
    pools.value = [];
    vms.value = [];
    events.value = [];
    live.value = { mediator: null, gpus: [], pools: [], vms: [] };
    health.value = new Map();
    capacity.value = new Map();
    ownChanges.value = [];
    toasts.value = [];
    dialog.value = null;
    loaded.value = false;
  });
}

export function setTheme(value) {
  theme.value = value;
  localStorage.setItem(THEME_KEY, value);
}

async function optional(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Problem && error.status !== 401) return null;
    throw error;
  }
}

let loading = null;
let next = null;

function startLoad() {
  loading ??= loadNow().finally(() => {
    loading = null;
  });
  return loading;
}

/** Reads all anew. What it gives was asked for after the call; two never run at once. */
export function load() {
  if (!loading) return startLoad();
  next ??= loading.then(() => {
    next = null;
    return startLoad();
  });
  return next;
}

async function loadHost(asked) {
  const value = await get('/host');
  if (token.value !== asked) return;
  host.value = value;
  mediatorUp.value = value.mediator_up;
}

async function loadNow() {
  const asked = token.value;
  const hostRead = loadHost(asked); // it answers without a mediator as well
  try {
    const [gpuList, poolList, vmList, capacities, healths] = await Promise.all([
      get('/gpus'),
      get('/pools'),
      allVms(),
      optional('/capacity'),
      optional('/health'),
      hostRead,
    ]);
    if (token.value !== asked) return;
    batch(() => {
      gpus.value = reconcileList(gpus.value, gpuList.gpus, 'gpu_id');
      pools.value = reconcileList(pools.value, poolList.pools, 'pool');
      vms.value = reconcileList(vms.value, vmList, 'vm_id');
      capacity.value = byId(capacities?.pools ?? [], 'pool');
      takeHealth(healths?.gpus ?? []);
      loaded.value = true;
      loadError.value = null;
    });
  } catch (error) {
    if (token.value === asked) loadError.value = error;
    await hostRead.catch(() => {}); // or an old answer could come after a newer one
  }
}

export function takeHealth(list) {
  health.value = byId(reconcileList([...health.value.values()], list, 'gpu_id'), 'gpu_id');
}

export async function loadHealth() {
  const answer = await optional('/health');
  if (answer) takeHealth(answer.gpus);
}

export function takeStatus(status) {
  live.value = {
    mediator: reconcile(live.value.mediator, status.mediator),
    gpus: reconcileList(live.value.gpus, status.gpus, 'gpu_id'),
    pools: reconcileList(live.value.pools, status.pools, 'pool'),
    vms: reconcileList(live.value.vms, status.vms, 'vm_id'),
  };
}

/** Whether the live state tells of a configuration that was not read yet. */
export function isBehind() {
  const known = byId(vms.value, 'vm_id');
  const list = live.value.vms;
  return (
    list.length !== known.size ||
    list.some((now) => {
      const vm = known.get(now.vm_id);
      return (
        !vm ||
        vm.pool !== now.pool ||
        vm.priority !== now.priority ||
        vm.weight !== now.weight ||
        vm.quarantine_reason !== now.quarantine_reason
      );
    })
  );
}

export function takeEvent(event) {
  events.value = [event, ...events.value].slice(0, EVENTS_KEPT);
}
