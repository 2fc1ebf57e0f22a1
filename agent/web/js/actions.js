// SPDX-License-Identifier: Apache-2.0
// Each change that the panel can make, as a spec for the dialog (dialog.js):
//
//   title, intro      what it is, for the person
//   role              the least role that it needs
//   danger            it ends something that runs, or cannot be undone
//   fields, values    what is asked, and what stands there at first
//   base              what is in force, as the fields show it; what differs from it is the person's
//   ready             nothing is left to ask: look at once what will happen
//   requests(values)  the requests that make the change; each is first sent as a dry run
//   conflict          {load(): the object anew, show(object): values, again(object, values): spec}
//   done(values)      what to say when it is made
//   after()           what else the panel then does
//   undo(results, values)  the spec of the inverse, or null with undoNote saying why
import { get, gpuPath, poolPath, send, tag, vmPath } from './api.js';
import {
  POLICIES,
  POOL_SETTINGS,
  PRIORITIES,
  VM_LIMITS,
  fromInput,
  showSetting,
  toInput,
} from './fields.js';
import { formatRanges, parseRanges } from './ranges.js';
import { plural, unitText } from './format.js';

const RESET_MS = 70000; // the mediator answers after 50 s at most
const POLICY_HELP =
  'Fair shares: GPU time in proportion to priority and weight. ' +
  'Strict priority: high before medium before low.';

const nameOfVm = (vm) => (vm.name ? `VM ${vm.vm_id} (${vm.name})` : `VM ${vm.vm_id}`);

const settingField = (setting) => ({ ...setting, kind: 'setting' });

const weightField = {
  name: 'weight',
  label: 'Weight',
  kind: 'decimal',
  min: 1,
  max: 100,
  help: '1 to 100. Among VMs of one priority, twice the weight gets twice the GPU time.',
};

const priorityField = {
  name: 'priority',
  label: 'Priority',
  kind: 'select',
  options: PRIORITIES,
  help: 'High counts four times, medium twice, low once.',
};

function decimal(field, text) {
  const typed = text.trim().replace(',', '.');
  if (!/^\d+(\.\d*)?$/.test(typed)) throw new Error('Write a number');
  const value = Number(typed);
  if (value < field.min || value > field.max) throw new Error(`From ${field.min} to ${field.max}`);
  return Math.round(value * 100) / 100;
}

/** The API's value of a field; throws an Error for the person. */
export function parseField(field, value) {
  if (field.kind === 'setting') return fromInput(field, value);
  if (field.kind === 'decimal') return decimal(field, value);
  if (field.kind === 'ranges') return parseRanges(value);
  if (field.kind === 'text') {
    const text = value.trim();
    if (field.required && text === '') throw new Error(field.missing ?? 'This is needed');
    if (new TextEncoder().encode(text).length > field.max)
      throw new Error(`At most ${field.max} bytes`);
    return text;
  }
  return value;
}

function inputsOf(fields, object) {
  const show = (field) => {
    if (field.kind === 'setting') return toInput(field, object[field.name]);
    if (field.kind === 'checks') return [...(object[field.name] ?? [])];
    return String(object[field.name] ?? '');
  };
  return Object.fromEntries(fields.map((field) => [field.name, show(field)]));
}

function parsed(fields, values) {
  return Object.fromEntries(
    fields.map((field) => [field.name, parseField(field, values[field.name])]),
  );
}

// What differs from the object: a PATCH leaves the rest to whoever changes it meanwhile.
function patchOf(fields, object, values) {
  const want = parsed(fields, values);
  const patch = {};
  for (const [name, value] of Object.entries(want)) {
    const nothing = value === '' && (object[name] ?? '') === '';
    if (!nothing && JSON.stringify(value) !== JSON.stringify(object[name])) {
      patch[name] = name === 'name' && value === '' ? null : value;
    }
  }
  return patch;
}

function former(object, patch) {
  return Object.fromEntries(Object.keys(patch).map((name) => [name, object[name]]));
}

// A PATCH of a VM or pool, by fields; its undo is the PATCH back.
function patchSpec({ kind, object, fields, values, title, intro, role, done, ready }) {
  const path = kind === 'vm' ? vmPath(object.vm_id) : poolPath(object.pool);
  return {
    title,
    intro,
    role,
    fields,
    ready,
    base: inputsOf(fields, object),
    values: { ...inputsOf(fields, object), ...values },
    requests: (now) => {
      const body = patchOf(fields, object, now);
      if (Object.keys(body).length === 0) return [];
      return [{ method: 'PATCH', path, body, ifMatch: tag(object.revision) }];
    },
    conflict: {
      load: () => get(path),
      show: (fresh) => inputsOf(fields, fresh),
      again: (fresh, kept) =>
        patchSpec({
          kind,
          object: fresh,
          fields,
          values: kept,
          title,
          intro,
          role,
          done,
          ready: true,
        }),
    },
    done: done ?? ((now) => doneWords(title, patchOf(fields, object, now))),
    undo: (results, now) => {
      const body = former(object, patchOf(fields, object, now));
      return restoreSpec(kind, path, body, results[0][kind].revision, done, title);
    },
  };
}

function doneWords(title, patch) {
  const [[name, value], ...more] = Object.entries(patch);
  return more.length ||
    (name !== 'priority' && name !== 'weight') ||
    !title.toLowerCase().startsWith(name)
    ? `${title}: changed`
    : `${title} is now ${showSetting(name, value)}`;
}

function restoreSpec(kind, path, body, revision, done, title) {
  return {
    title: `Undo: ${title}`,
    role: kind === 'vm' ? 'operate' : 'admin',
    fields: [],
    values: {},
    ready: true,
    requests: () => [{ method: 'PATCH', path, body, ifMatch: tag(revision) }],
    conflict: {
      load: () => get(path),
      again: (fresh) => restoreSpec(kind, path, body, fresh.revision, done, title),
    },
    done: () => `${title}: undone`,
    undo: (results, now, changes) => {
      const forward = Object.assign({}, ...changes.map((change) => change.to ?? {}));
      const again = Object.fromEntries(Object.keys(body).map((name) => [name, forward[name]]));
      return {
        ...restoreSpec(kind, path, again, results[0][kind].revision, done, title),
        title: `Redo: ${title}`,
      };
    },
  };
}

export function setPriority(vm, priority) {
  return patchSpec({
    kind: 'vm',
    object: vm,
    role: 'operate',
    fields: [priorityField],
    ready: true,
    values: { priority },
    title: `Priority of ${nameOfVm(vm)}`,
  });
}

export function setWeight(vm, weight) {
  return patchSpec({
    kind: 'vm',
    object: vm,
    role: 'operate',
    fields: [weightField],
    ready: weight !== undefined,
    values: weight === undefined ? {} : { weight },
    title: `Weight of ${nameOfVm(vm)}`,
  });
}

export function editVm(vm, pools) {
  const fields = [
    { name: 'name', label: 'Name', kind: 'text', max: 64, help: 'For people; the number stays.' },
    {
      name: 'pool',
      label: 'Pool',
      kind: 'select',
      help: 'What runs on a GPU that the new pool does not have goes on there until it ends.',
      options: pools.map((pool) => ({ value: pool.pool, label: pool.pool })),
    },
    priorityField,
    weightField,
    ...VM_LIMITS.map(settingField),
  ];
  return patchSpec({
    kind: 'vm',
    object: vm,
    role: 'operate',
    fields,
    title: `Settings of ${nameOfVm(vm)}`,
    intro: '0 stands for the default, which is named beside each limit.',
  });
}

export function editPool(pool) {
  const fields = [
    {
      name: 'policy',
      label: 'Who goes first',
      kind: 'select',
      options: POLICIES,
      help: POLICY_HELP,
    },
    { name: 'description', label: 'Description', kind: 'text', max: 256 },
    ...POOL_SETTINGS.map(settingField),
  ];
  return patchSpec({
    kind: 'pool',
    object: pool,
    role: 'admin',
    fields,
    title: `Settings of pool ${pool.pool}`,
    intro: '0 stands for the default, which is named beside each setting.',
  });
}

const VM_SETTINGS = [
  'uuid',
  'name',
  'pool',
  'priority',
  'weight',
  ...VM_LIMITS.map((limit) => limit.name),
];
const POOL_MEMBERS = ['policy', 'description', ...POOL_SETTINGS.map((setting) => setting.name)];

const pick = (object, names) =>
  Object.fromEntries(
    names.filter((name) => object[name] !== undefined).map((name) => [name, object[name]]),
  );

function createPoolRequests(name, settings) {
  return [{ method: 'PUT', path: poolPath(name), body: settings, ifNoneMatch: '*' }];
}

export function createPool(preset = {}) {
  const fields = [
    {
      name: 'pool',
      label: 'Name',
      kind: 'text',
      required: true,
      identifies: true,
      max: 64,
      missing: 'Give the pool a name, for example A',
      help: 'It stays as long as the pool does.',
    },
    {
      name: 'policy',
      label: 'Who goes first',
      kind: 'select',
      options: POLICIES,
      help: POLICY_HELP,
    },
    { name: 'description', label: 'Description', kind: 'text', max: 256 },
  ];
  return {
    title: 'New pool',
    role: 'admin',
    fields,
    intro: 'A pool is a group of virtual machines that share one or more GPUs.',
    values: { pool: '', policy: 'wfq', description: '', ...preset },
    requests: (values) => {
      const { pool, ...settings } = parsed(fields, values);
      return createPoolRequests(pool, settings);
    },
    done: (values) => `Pool ${values.pool.trim()} created`,
    undo: (results) => removePool(results[0].pool, { undo: true }),
  };
}

function recreatePool(pool) {
  return {
    title: `Undo: remove pool ${pool.pool}`,
    role: 'admin',
    fields: [],
    values: {},
    ready: true,
    intro: pool.gpus.length
      ? `It comes back with its settings; assign GPU ${pool.gpus.join(', ')} to it again then.`
      : undefined,
    requests: () => createPoolRequests(pool.pool, pick(pool, POOL_MEMBERS)),
    done: () => `Pool ${pool.pool} is back`,
    undo: (results) => removePool(results[0].pool, { undo: true }),
  };
}

export function removePool(pool, { undo = false } = {}) {
  return {
    title: undo ? `Undo: create pool ${pool.pool}` : `Remove pool ${pool.pool}`,
    role: 'admin',
    fields: [],
    values: {},
    ready: true,
    danger: true,
    intro: pool.gpus?.length ? 'Its GPUs stay and are free for other pools.' : undefined,
    requests: () => [{ method: 'DELETE', path: poolPath(pool.pool), ifMatch: tag(pool.revision) }],
    conflict: {
      load: () => get(poolPath(pool.pool)),
      again: (fresh) => removePool(fresh, { undo }),
    },
    done: () => `Pool ${pool.pool} removed`,
    undo: () => recreatePool({ gpus: [], ...pool }),
  };
}

export function setGpuPools(gpu, pools, values) {
  const fields = [
    {
      name: 'pools',
      label: 'Pools on this GPU',
      kind: 'checks',
      options: pools.map((pool) => ({
        value: pool.pool,
        label: pool.pool,
        note: pool.description,
      })),
      help: pools.length
        ? 'VMs of these pools run on this GPU.'
        : 'There is no pool yet. Create one first.',
    },
  ];
  return {
    title: `Pools on GPU ${gpu.gpu_id}`,
    intro: gpu.model,
    role: 'admin',
    fields,
    base: { pools: [...gpu.pools] },
    values: values ?? { pools: [...gpu.pools] },
    ready: values !== undefined,
    requests: ({ pools: names }) => [
      {
        method: 'PUT',
        path: gpuPath(gpu.gpu_id, '/pools'),
        body: [...names].sort(),
        ifMatch: tag(gpu.revision),
      },
    ],
    conflict: {
      load: () => get(gpuPath(gpu.gpu_id)),
      show: (fresh) => ({ pools: [...fresh.pools] }),
      again: (fresh, kept) => setGpuPools(fresh, pools, kept),
    },
    done: ({ pools: names }) =>
      names.length
        ? `GPU ${gpu.gpu_id} now serves ${names.join(', ')}`
        : `GPU ${gpu.gpu_id} serves no pool`,
    undo: (results) => ({
      ...setGpuPools({ ...gpu, ...results[0].gpu }, pools, { pools: [...gpu.pools] }),
      title: `Undo: pools on GPU ${gpu.gpu_id}`,
    }),
  };
}

function splitVms(ids, pool, known) {
  const byId = new Map(known.map((vm) => [vm.vm_id, vm]));
  const fresh = ids.filter((id) => !byId.has(id));
  const moved = ids.map((id) => byId.get(id)).filter((vm) => vm && vm.pool !== pool);
  return { fresh, moved };
}

const moveRequest = (pool, ids) => ({
  method: 'POST',
  path: poolPath(pool, '/vms'),
  body: { vms: formatRanges(ids).replaceAll(' ', '') },
});

// One request, all or nothing; the priority is for those that are added.
function addRequests(pool, ids, priority, known) {
  const { fresh } = splitVms(ids, pool, known);
  const move = moveRequest(pool, ids);
  if (!fresh.length) return [move];
  return [{ ...move, body: { ...move.body, register: true, priority } }];
}

// Takes out what was added, and back what was moved.
function undoAssign(title, added, moved) {
  const homes = new Map();
  for (const vm of moved) homes.set(vm.pool, [...(homes.get(vm.pool) ?? []), vm.vm_id]);
  return {
    title: `Undo: ${title}`,
    role: 'admin',
    fields: [],
    values: {},
    ready: true,
    danger: added.length > 0,
    requests: () => [
      ...added.map((vm) => ({
        method: 'DELETE',
        path: vmPath(vm.vm_id),
        ifMatch: tag(vm.revision),
      })),
      ...[...homes].map(([pool, ids]) => moveRequest(pool, ids)),
    ],
    conflict: {},
    done: () => `${title}: undone`,
    undo: () => null,
    undoNote: 'Assign them again to redo it.',
  };
}

export function assignVms(pools, known, preset = {}) {
  const fields = [
    {
      name: 'vms',
      label: 'Virtual machines',
      kind: 'ranges',
      placeholder: '1-7, 9',
      help: 'Numbers and ranges. Those that are not known yet are added; the others move here.',
    },
    {
      name: 'pool',
      label: 'Pool',
      kind: 'select',
      options: pools.map((pool) => ({ value: pool.pool, label: pool.pool })),
    },
    { ...priorityField, label: 'Priority of those that are added' },
  ];
  const title = (values) => `VMs ${formatRanges(parseRanges(values.vms))} to pool ${values.pool}`;
  return {
    title: 'Assign virtual machines',
    role: 'operate',
    fields,
    values: { vms: '', pool: pools[0]?.pool ?? '', priority: 'medium', ...preset },
    requests: (values) => addRequests(values.pool, parseRanges(values.vms), values.priority, known),
    nothing: 'They are in this pool already.',
    done: (values) => `${title(values)}: done`,
    undo: (results, values, changes) => {
      const vms = changes.filter((change) => change.object === 'vm');
      return undoAssign(
        title(values),
        vms.filter((change) => !change.from).map((change) => change.to),
        vms.filter((change) => change.from).map((change) => change.from),
      );
    },
  };
}

export function removeVm(vm) {
  return {
    title: `Remove ${nameOfVm(vm)}`,
    role: 'admin',
    fields: [],
    values: {},
    ready: true,
    danger: true,
    intro:
      'Its programs that use the GPU end. Its settings can be brought back, its counters cannot.',
    requests: () => [{ method: 'DELETE', path: vmPath(vm.vm_id), ifMatch: tag(vm.revision) }],
    conflict: { load: () => get(vmPath(vm.vm_id)), again: (fresh) => removeVm(fresh) },
    done: () => `${nameOfVm(vm)} removed`,
    after: () => {
      if (location.hash === `#/vm/${vm.vm_id}`) location.hash = '/';
    },
    undo: () => recreateVm(vm),
  };
}

function recreateVm(vm) {
  return {
    title: `Undo: remove ${nameOfVm(vm)}`,
    role: 'admin',
    fields: [],
    values: {},
    ready: true,
    requests: () => [
      { method: 'PUT', path: vmPath(vm.vm_id), body: pick(vm, VM_SETTINGS), ifNoneMatch: '*' },
    ],
    done: () => `${nameOfVm(vm)} is back`,
    undo: (results) => removeVm({ ...vm, ...results[0].vm }),
  };
}

const reasonField = {
  name: 'reason',
  label: 'Reason',
  kind: 'text',
  required: true,
  max: 256,
  missing: 'Say why, for those who look at it later',
  help: 'Others see it beside the VM or GPU.',
};

// To take something out of service for a reason, and back into it: quarantine of a VM and draining of
// a GPU differ in what they are called.
function holdSpec(words, object, reason) {
  return {
    title: words.title(object),
    role: 'operate',
    danger: true,
    fields: [reasonField],
    values: { reason },
    ready: reason !== '',
    intro: words.intro,
    requests: ({ reason: why }) => [
      { method: 'PUT', path: words.path(object), body: { reason: parseField(reasonField, why) } },
    ],
    nothing: words.nothing,
    done: () => words.done(object),
    undo: () => words.end(object),
  };
}

function endHoldSpec(words, object) {
  const reason = object[words.reason] ?? '';
  return {
    title: words.endTitle(object),
    role: 'operate',
    fields: [],
    values: {},
    ready: true,
    intro: `${words.endIntro}${reason ? ` ${words.was}: ${reason}` : ''}`,
    requests: () => [{ method: 'DELETE', path: words.path(object) }],
    nothing: words.endNothing,
    runAnyway: words.runAnyway,
    done: () => words.endDone(object),
    undo: () => words.begin(object, reason || words.mistake),
  };
}

const QUARANTINE = {
  path: (vm) => vmPath(vm.vm_id, '/quarantine'),
  reason: 'quarantine_reason',
  title: (vm) => `Quarantine ${nameOfVm(vm)}`,
  intro: 'All its jobs are refused until somebody releases it. Other VMs are not affected.',
  nothing: 'It is in quarantine already.',
  done: (vm) => `${nameOfVm(vm)} is in quarantine`,
  begin: (vm, reason) => quarantine(vm, reason),
  end: (vm) => release(vm),
  endTitle: (vm) => `Release ${nameOfVm(vm)}`,
  endIntro: 'Its jobs are taken again, and its faults so far are forgiven.',
  was: 'It was quarantined for',
  endNothing: 'It is not in quarantine any more.',
  endDone: (vm) => `${nameOfVm(vm)} is released`,
  mistake: 'released by mistake',
};

const DRAIN = {
  path: (gpu) => gpuPath(gpu.gpu_id, '/drain'),
  reason: 'drain_reason',
  title: (gpu) => `Drain GPU ${gpu.gpu_id}`,
  intro: 'What runs may finish; nothing new starts on this GPU until it is resumed.',
  nothing: 'It is drained already.',
  done: (gpu) => `GPU ${gpu.gpu_id} drains`,
  begin: (gpu, reason) => drain(gpu, reason),
  end: (gpu) => resume(gpu),
  endTitle: (gpu) => `Resume GPU ${gpu.gpu_id}`,
  endIntro: 'It takes work again.',
  was: 'It was drained for',
  endNothing: 'It is not drained. Errors that it had so far no longer count against it.',
  runAnyway: true,
  endDone: (gpu) => `GPU ${gpu.gpu_id} takes work again`,
  mistake: 'resumed by mistake',
};

export const quarantine = (vm, reason = '') => holdSpec(QUARANTINE, vm, reason);
export const release = (vm) => endHoldSpec(QUARANTINE, vm);
export const drain = (gpu, reason = '') => holdSpec(DRAIN, gpu, reason);
export const resume = (gpu) => endHoldSpec(DRAIN, gpu);

export function clearFaults(vm) {
  return {
    title: `Forget the faults of ${nameOfVm(vm)}`,
    role: 'operate',
    fields: [],
    values: {},
    ready: true,
    danger: true,
    intro: 'The count starts anew and the list of its faults is emptied. This cannot be undone.',
    requests: () => [{ method: 'DELETE', path: vmPath(vm.vm_id, '/faults') }],
    nothing: 'It has no faults.',
    done: () => `Faults of ${nameOfVm(vm)} forgotten`,
    undo: () => null,
  };
}

export function resetGpu(gpu) {
  const fields = [
    {
      name: 'uuid',
      label: 'Type the UUID of the GPU',
      kind: 'text',
      required: true,
      max: 64,
      help: gpu.uuid,
      missing: 'This makes sure that it is the right card',
    },
  ];
  return {
    title: `Reset GPU ${gpu.gpu_id}`,
    role: 'admin',
    danger: true,
    fields,
    values: { uuid: '' },
    intro:
      'The hardware restarts. It is refused while anything uses the GPU, and cannot be undone.',
    noDryRun: 'The card restarts and loses what is in its memory.',
    requests: (values) => [
      {
        method: 'POST',
        path: gpuPath(gpu.gpu_id, '/reset'),
        timeoutMs: RESET_MS,
        body: { uuid: parseField(fields[0], values.uuid) },
      },
    ],
    done: () => `GPU ${gpu.gpu_id} was reset`,
    undo: () => null,
  };
}

export function scan() {
  return {
    title: 'Scan for GPUs',
    role: 'operate',
    fields: [],
    values: {},
    ready: true,
    intro:
      'Looks for GPUs in this host. Those that are gone are marked as missing; none is forgotten.',
    requests: () => [{ method: 'POST', path: '/scan' }],
    nothing: 'All GPUs are as recorded.',
    runAnyway: true,
    done: (values, results) => scanWords(results[0]),
    undo: () => null,
  };
}

function scanWords(result) {
  const parts = [
    ['added', 'new'],
    ['returned', 'returned'],
    ['moved', 'moved'],
    ['missing', 'missing'],
  ]
    .filter(([key]) => result[key]?.length)
    .map(([key, word]) => `${result[key].length} ${word}`);
  return `Scanned: ${plural(result.gpus.length, 'GPU')}${
    parts.length ? ` (${parts.join(', ')})` : ''
  }`;
}

/** threshold: as GET answers it, with its etag. */
export function setThreshold(threshold) {
  const unit = unitText(threshold.unit);
  const fields = [
    { name: 'value', label: 'Limit', kind: 'decimal', unit, min: 1, max: 1e9 },
    {
      name: 'action',
      label: 'What happens beyond it',
      kind: 'select',
      options: [
        { value: 'ignore', label: 'Nothing' },
        { value: 'warn', label: 'Warn' },
        { value: 'stop', label: 'No new work' },
        { value: 'drain', label: 'Drain' },
      ],
    },
  ];
  const path = `/thresholds/${threshold.name}`;
  const spec = (title, base, values, ready) => ({
    title,
    role: 'admin',
    fields,
    values,
    ready,
    base: inputsOf(fields, base),
    intro: `It is reached at this value and above; the default is ${threshold.default_value} ${unit}.`,
    requests: (now) => [{ method: 'PUT', path, body: parsed(fields, now), ifMatch: base.etag }],
    conflict: {
      load: () => get(path),
      show: (fresh) => inputsOf(fields, fresh),
      again: (fresh, kept) => spec(title, fresh, kept, true),
    },
    done: () => `${title}: done`,
    undo: (results) => {
      const made = { ...results[0].threshold, etag: results[0].etag };
      return spec(`Undo: ${title}`, made, inputsOf(fields, base), true);
    },
  });
  return spec(
    `Limit ${threshold.name}: ${threshold.title}`,
    threshold,
    inputsOf(fields, threshold),
    false,
  );
}

/** Sends all requests of a spec in order; on failure the error has `made`, how many were done. */
export async function run(requests, options) {
  const results = [];
  for (const request of requests) {
    try {
      results.push(await send(request, options));
    } catch (error) {
      error.made = results.length;
      throw error;
    }
  }
  return results;
}
