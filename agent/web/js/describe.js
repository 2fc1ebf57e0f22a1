// SPDX-License-Identifier: Apache-2.0
// What a change does, in words: from the list `changes` of a reply. Pure.

import { labelOf, showSetting } from './fields.js';
import { formatRanges } from './ranges.js';

const SUBJECTS_SHOWN = 6;

// Bookkeeping that follows from any change.
const SILENT = new Set([
  'revision',
  'created',
  'updated',
  'last_seen',
  'first_seen',
  'vm_id',
  'gpu_id',
  'last_fault',
  'last_fault_kind',
  'last_fault_text',
  'quarantine_time',
  'quarantined_by',
]);

// Not worth a line when an object is new: what has not been set.
const isEmpty = (value) =>
  value === null ||
  value === '' ||
  value === 0 ||
  value === false ||
  (Array.isArray(value) && value.length === 0);

export function subjectOf(change) {
  const { object, key } = change;
  const whole = change.to ?? change.from ?? {};
  if (object === 'vm') {
    const name = whole.name ?? change.from?.name;
    return name ? `VM ${key} (${name})` : `VM ${key}`;
  }
  if (object === 'pool') return `Pool ${key}`;
  if (object === 'gpu') return `GPU ${whole.gpu_id ?? key}`;
  if (object === 'pool-gpu') return `GPU ${whole.gpu_id ?? key}`;
  if (object === 'threshold') return `Health limit ${key}`;
  return `${object} ${key}`;
}

function differences(from, to) {
  const keys = new Set([...Object.keys(from), ...Object.keys(to)]);
  const lines = [];
  for (const key of keys) {
    if (SILENT.has(key) || JSON.stringify(from[key]) === JSON.stringify(to[key])) continue;
    lines.push({
      label: labelOf(key),
      from: from[key] === undefined ? null : showSetting(key, from[key]),
      to: showSetting(key, to[key]),
    });
  }
  return lines;
}

function members(whole) {
  return Object.entries(whole)
    .filter(([key, value]) => !SILENT.has(key) && !isEmpty(value))
    .map(([key, value]) => ({ label: labelOf(key), from: null, to: showSetting(key, value) }));
}

/** [{subject, verb, lines: [{label, from, to}]}]; from is null where the object is new. */
export function describeChange(change) {
  const { from, to } = change;
  const subject = subjectOf(change);
  if (change.object === 'pool-gpu') {
    const pair = to ?? from ?? {};
    const verb = to ? `joins pool ${pair.pool}` : `leaves pool ${pair.pool}`;
    return { subject, verb, lines: [] };
  }
  if (!from) return { subject, verb: 'is added', lines: members(to ?? {}) };
  if (!to) return { subject, verb: 'is removed', lines: [] };
  return { subject, verb: 'changes', lines: differences(from, to) };
}

// Two VMs that change alike are told as one: the key of what is the same about them.
const likeness = (item) => JSON.stringify([item.verb, item.lines]);

/** Like changes of several VMs become one entry: {subjects: [...], verb, lines}. */
export function describeChanges(changes) {
  const groups = new Map();
  for (const change of changes) {
    const item = describeChange(change);
    if (item.verb === 'changes' && item.lines.length === 0) continue;
    const group = groups.get(likeness(item));
    if (group) group.subjects.push(item.subject);
    else
      groups.set(likeness(item), { subjects: [item.subject], verb: item.verb, lines: item.lines });
  }
  return [...groups.values()];
}

const AUDIT_VERBS = {
  'create-pool': 'created',
  'remove-pool': 'removed',
  'register-vm': 'added',
  'remove-vm': 'removed',
  quarantine: 'quarantined',
  unquarantine: 'released',
  'record-fault': 'had a fault',
  'drain-gpu': 'drained',
  'resume-gpu': 'resumed',
  'reset-gpu': 'reset',
};

const ONE_DEED_S = 5;

/** Rows, newest first, that one command made alike, as one: [{rows, item, subjects}]. */
export function groupAudit(rows) {
  const groups = [];
  for (const row of rows) {
    const item = describeAudit(row);
    const last = groups.at(-1);
    const first = last?.rows[0];
    if (
      first &&
      last.rows.at(-1).time - row.time <= ONE_DEED_S &&
      first.who === row.who &&
      first.command === row.command &&
      likeness(last.item) === likeness(item)
    ) {
      last.rows.push(row);
      last.subjects.push(item.subject);
    } else {
      groups.push({ rows: [row], item, subjects: [item.subject] });
    }
  }
  return groups;
}

/** "VM 1", "VM 2", "VM 3" is "VMs 1-3" where they have no names. */
export function subjectsText(subjects) {
  if (subjects.length === 1) return subjects[0];
  const ids = subjects.map((subject) => /^VM (\d+)$/.exec(subject)?.[1]);
  if (ids.every(Boolean)) return `VMs ${formatRanges(ids.map(Number))}`;
  const shown = subjects.slice(0, SUBJECTS_SHOWN).join(', ');
  return subjects.length > SUBJECTS_SHOWN
    ? `${shown} and ${subjects.length - SUBJECTS_SHOWN} more`
    : shown;
}

/** The verb of a change, in the present or past, for one or several. */
export function verbText(verb, many, past) {
  if (verb === 'changes') return past ? 'changed' : many ? 'change' : 'changes';
  if (!verb.startsWith('is ')) return verb;
  const be = past ? (many ? 'were' : 'was') : many ? 'are' : 'is';
  return be + verb.slice(2);
}

/** One line of the audit log: {subject, verb, lines}; before and after hold only what differs. */
export function describeAudit(row) {
  const parse = (value) => (typeof value === 'string' ? JSON.parse(value) : value);
  const change = {
    object: row.object,
    key: row.key,
    from: parse(row.before),
    to: parse(row.after),
  };
  const item = describeChange(change);
  return { ...item, verb: AUDIT_VERBS[row.command] ?? item.verb };
}
