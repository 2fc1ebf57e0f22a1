// SPDX-License-Identifier: Apache-2.0
// Unit tests of what the panel's changes send, and of their inverses.
import assert from 'node:assert/strict';
import test from 'node:test';

import * as actions from '../../../agent/web/js/actions.js';

const VM = {
  vm_id: 3,
  revision: 7,
  name: null,
  uuid: null,
  pool: 'A',
  priority: 'medium',
  weight: 50,
  rate_per_s: 0,
  burst: 0,
  depth: 0,
  bytes_in_flight: 0,
  job_timeout_ms: 0,
  memory_bytes: 2 ** 30,
  process_memory_bytes: 0,
  fault_threshold: 0,
  fault_window_s: 0,
};
const POOLS = [{ pool: 'A' }, { pool: 'B' }];

test('a change sends only what changed, under the revision that was seen', () => {
  const spec = actions.editVm(VM, POOLS);
  assert.deepEqual(spec.requests({ ...spec.values, weight: '70', memory_bytes: '2048' }), [
    {
      method: 'PATCH',
      path: '/vms/3',
      body: { weight: 70, memory_bytes: 2 ** 31 },
      ifMatch: '"7"',
    },
  ]);
  assert.deepEqual(spec.requests(spec.values), []);
});

test('the undo of a change restores what was, under the new revision', () => {
  const spec = actions.setPriority(VM, 'high');
  const undo = spec.undo([{ vm: { revision: 8 } }], spec.values, []);
  assert.deepEqual(undo.requests(), [
    { method: 'PATCH', path: '/vms/3', body: { priority: 'medium' }, ifMatch: '"8"' },
  ]);
});

test('on top of a conflict, only the choice of this person is kept', () => {
  const spec = actions.setPriority(VM, 'high');
  const fresh = { ...VM, revision: 9, weight: 80, priority: 'low' };
  const again = spec.conflict.again(fresh, { ...spec.conflict.show(fresh), priority: 'high' });
  assert.deepEqual(again.requests(again.values), [
    { method: 'PATCH', path: '/vms/3', body: { priority: 'high' }, ifMatch: '"9"' },
  ]);
});

test('VMs that are added or moved are one request, whatever their priority', () => {
  const spec = actions.assignVms(POOLS, [VM], { pool: 'B' });
  const values = { ...spec.values, vms: '1-3' };
  assert.deepEqual(spec.requests(values), [
    { method: 'POST', path: '/pools/B/vms', body: { vms: '1-3', register: true, priority: 'medium' } },
  ]);
  assert.deepEqual(spec.requests({ ...values, priority: 'high' }), [
    {
      method: 'POST',
      path: '/pools/B/vms',
      body: { vms: '1-3', register: true, priority: 'high' },
    },
  ]);
  // Who only moves needs no more than operate.
  assert.deepEqual(spec.requests({ ...values, vms: '3', priority: 'high' }), [
    { method: 'POST', path: '/pools/B/vms', body: { vms: '3' } },
  ]);
});

test('the undo of an assignment takes out what was added and moves back what was moved', () => {
  const spec = actions.assignVms(POOLS, [VM], { pool: 'B' });
  const values = { ...spec.values, vms: '1,3' };
  const undo = spec.undo([{}], values, [
    { object: 'vm', key: '1', from: null, to: { vm_id: 1, revision: 1, pool: 'B' } },
    { object: 'vm', key: '3', from: VM, to: { ...VM, pool: 'B' } },
    { object: 'pool', key: 'B', from: {}, to: {} },
  ]);
  assert.deepEqual(undo.requests(), [
    { method: 'DELETE', path: '/vms/1', ifMatch: '"1"' },
    { method: 'POST', path: '/pools/A/vms', body: { vms: '3' } },
  ]);
});

test('a removed VM comes back with its settings and nothing else', () => {
  const [request] = actions
    .removeVm({ ...VM, faults: 3, state: 'idle' })
    .undo()
    .requests();
  assert.equal(request.method, 'PUT');
  assert.equal(request.ifNoneMatch, '*');
  assert.equal(request.body.memory_bytes, 2 ** 30);
  assert.ok(!('faults' in request.body) && !('state' in request.body));
});

test('names of pools are one segment of a path', () => {
  const spec = actions.removePool({ pool: '../a b/?', revision: 1, gpus: [] });
  assert.equal(spec.requests()[0].path, '/pools/..%2Fa%20b%2F%3F');
});

test('what is out of range is refused with the range', () => {
  const weight = { kind: 'decimal', min: 1, max: 100 };
  assert.equal(actions.parseField(weight, '33,333'), 33.33);
  assert.throws(() => actions.parseField(weight, '100.1'), /From 1 to 100/);
  assert.throws(() => actions.parseField(weight, 'NaN'), /number/);
  const reason = { kind: 'text', required: true, max: 4 };
  assert.equal(actions.parseField(reason, ' äö '), 'äö');
  assert.throws(() => actions.parseField(reason, 'äöü'), /At most 4 bytes/);
  assert.throws(() => actions.parseField(reason, '  '), /needed/);
});
