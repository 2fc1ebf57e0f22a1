// SPDX-License-Identifier: Apache-2.0
// Unit tests of the panel's pure modules, by node's own test runner: node --test tests/web/unit.
import assert from 'node:assert/strict';
import test from 'node:test';

import { formatRanges, parseRanges } from '../../../agent/web/js/ranges.js';
import * as format from '../../../agent/web/js/format.js';
import { reconcile, reconcileList } from '../../../agent/web/js/reconcile.js';
import { EVENT_CHARS_MAX, SseParser, backoff } from '../../../agent/web/js/sse.js';
import { VM_LIMITS, fromInput, showSetting, toInput } from '../../../agent/web/js/fields.js';
import { describeAudit, describeChange, describeChanges } from '../../../agent/web/js/describe.js';

test('ranges are read as people write them', () => {
  assert.deepEqual(parseRanges('1-3, 9,5 – 6'), [1, 2, 3, 5, 6, 9]);
  assert.deepEqual(parseRanges('7,7,6-7'), [6, 7]);
});

test('ranges refuse what is none, with the reason', () => {
  assert.throws(() => parseRanges(''), /for example/);
  assert.throws(() => parseRanges('a-b'), /not a number or a range/);
  assert.throws(() => parseRanges('7-3'), /backwards: write 3-7/);
  assert.throws(() => parseRanges('0-3'), /go from 1/);
  assert.throws(() => parseRanges('1-1025'), /more than 1024/);
  assert.throws(() => parseRanges('1-1024,2000'), /More than 1024/);
  assert.equal(parseRanges('1-1024').length, 1024);
  assert.throws(() => parseRanges('2147483648'), /to 2147483647/);
});

test('ranges are written as short as can be', () => {
  assert.equal(formatRanges([3, 1, 2, 9, 11, 12]), '1-3, 9, 11-12');
  assert.equal(formatRanges([]), '');
  assert.deepEqual(parseRanges(formatRanges([4, 8, 9])), [4, 8, 9]);
});

test('figures are readable and never NaN', () => {
  assert.equal(format.bytes(85899345920), '80 GiB');
  assert.equal(format.bytes(1536), '1.5 KiB');
  assert.equal(format.bytes(null), '–');
  assert.equal(format.percent(0.334), '33 %');
  assert.equal(format.percent(0.004), '0.4 %');
  assert.equal(format.percent(NaN), '–');
  assert.equal(format.count(1234567), '1\u202f234\u202f567');
  assert.equal(format.duration(59), '59 s');
  assert.equal(format.duration(7800), '2 h 10 min');
  assert.equal(format.duration(86400 * 3), '3 days');
  assert.equal(format.ago(100, 101), 'just now');
  assert.equal(format.ago(100, 400), '5 min ago');
  assert.equal(format.plural(1, 'VM'), '1 VM');
  assert.equal(format.plural(3, 'VM'), '3 VMs');
});

test('what is equal stays the same object', () => {
  const before = { a: { b: [1, 2] }, c: 1 };
  const after = reconcile(before, { a: { b: [1, 2] }, c: 2 });
  assert.equal(after.a, before.a);
  assert.notEqual(after, before);
  assert.equal(reconcile(before, structuredClone(before)), before);
  assert.deepEqual(reconcile({ a: 1, b: undefined }, { a: 1, c: undefined }), {
    a: 1,
    c: undefined,
  });
  assert.deepEqual(reconcile([1], { 0: 1 }), { 0: 1 });
});

test('a list is compared by identity, not by place', () => {
  const before = [
    { id: 1, x: 1 },
    { id: 2, x: 2 },
  ];
  const after = reconcileList(
    before,
    [
      { id: 2, x: 2 },
      { id: 1, x: 9 },
    ],
    'id',
  );
  assert.equal(after[0], before[1]);
  assert.deepEqual(after[1], { id: 1, x: 9 });
  assert.equal(reconcileList(before, structuredClone(before), 'id'), before);
});

test('events are whole however the text is cut', () => {
  const text =
    ': hello\r\nevent: state\r\ndata: {"a":\r\ndata: 1}\r\n\r\nid: 7\ndata:x\n\ndata\n\n';
  const want = [
    { type: 'state', data: '{"a":\n1}', id: undefined },
    { type: 'message', data: 'x', id: '7' },
    { type: 'message', data: '', id: '7' },
  ];
  for (let step = 1; step < text.length; step++) {
    const got = [];
    const parser = new SseParser((event) => got.push(event));
    for (let i = 0; i < text.length; i += step) parser.push(text.slice(i, i + step));
    assert.deepEqual(got, want, `in steps of ${step}`);
  }
});

test('an endless event is refused', () => {
  const parser = new SseParser(() => {});
  parser.push(`data: ${'x'.repeat(EVENT_CHARS_MAX)}\n`);
  assert.throws(() => parser.push('data: y\n'), /too long/);
  assert.throws(() => new SseParser(() => {}).push('x'.repeat(EVENT_CHARS_MAX + 1)), /too long/);
});

test('reconnection waits longer each time, up to a bound', () => {
  assert.equal(backoff(0, 0.999999), 500);
  assert.ok(backoff(3, 0) >= 2000 && backoff(3, 0.99) <= 4000);
  assert.equal(backoff(1000, 0.999999), 15000);
});

test('a setting goes from the API to the input and back', () => {
  const memory = VM_LIMITS.find((field) => field.name === 'memory_bytes');
  assert.equal(toInput(memory, 2 ** 31), '2048');
  assert.equal(fromInput(memory, '2048'), 2 ** 31);
  assert.equal(fromInput(memory, ''), 0);
  assert.throws(() => fromInput(memory, '-1'), /number/);
  assert.throws(() => fromInput(memory, '1e3'), /number/);
  assert.throws(() => fromInput(memory, String(16 * 2 ** 20 + 1)), /From 1 to/);
  assert.equal(showSetting('memory_bytes', 0), 'no limit');
  assert.equal(showSetting('job_timeout_ms', 1500), '1.5 s');
  assert.equal(showSetting('priority', 'high'), 'High');
});

test('a change is told in words', () => {
  const change = {
    object: 'vm',
    key: '3',
    from: { priority: 'low', revision: 1, name: '<b>x</b>' },
    to: { priority: 'high', revision: 2, name: '<b>x</b>' },
  };
  assert.deepEqual(describeChange(change), {
    subject: 'VM 3 (<b>x</b>)',
    verb: 'changes',
    lines: [{ label: 'Priority', from: 'Low', to: 'High' }],
  });
  assert.equal(
    describeChange({ object: 'pool', key: 'A', from: { pool: 'A' }, to: null }).verb,
    'is removed',
  );
  assert.equal(
    describeChange({ object: 'pool-gpu', key: 'A/0', from: null, to: { pool: 'A', gpu_id: 0 } })
      .verb,
    'joins pool A',
  );
});

test('like changes of several VMs are one entry', () => {
  const changes = [1, 2, 3].map((id) => ({
    object: 'vm',
    key: String(id),
    from: { pool: 'A' },
    to: { pool: id === 3 ? 'C' : 'B' },
  }));
  const groups = describeChanges(changes);
  assert.deepEqual(
    groups.map((group) => group.subjects),
    [['VM 1', 'VM 2'], ['VM 3']],
  );
});

test('bookkeeping alone is no change', () => {
  assert.deepEqual(
    describeChanges([{ object: 'gpu', key: 'G', from: { revision: 1 }, to: { revision: 2 } }]),
    [],
  );
});

test('a row of the audit log is told in words', () => {
  const row = {
    command: 'quarantine',
    object: 'vm',
    key: '5',
    before: '{"quarantined":false}',
    after: '{"quarantined":true}',
  };
  const item = describeAudit(row);
  assert.equal(item.subject, 'VM 5');
  assert.equal(item.verb, 'quarantined');
});
