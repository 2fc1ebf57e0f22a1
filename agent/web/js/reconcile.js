// SPDX-License-Identifier: Apache-2.0
// Structural sharing: what is equal to what was there before stays the same object, so that a row
// whose data did not change is not drawn again. Pure.

const isObject = (value) => typeof value === 'object' && value !== null;

/** Returns `after`, with each part that equals the one in `before` replaced by that. */
export function reconcile(before, after) {
  if (Object.is(before, after)) return before;
  if (!isObject(before) || !isObject(after)) return after;
  if (Array.isArray(before) !== Array.isArray(after)) return after;
  const keys = Object.keys(after);
  let same = keys.length === Object.keys(before).length;
  const result = Array.isArray(after) ? new Array(after.length) : {};
  for (const key of keys) {
    result[key] = reconcile(before[key], after[key]);
    if (!Object.is(result[key], before[key]) || !(key in before)) same = false;
  }
  return same ? before : result;
}

/** The same for a list whose members have an identity: a member is compared with its namesake. */
export function reconcileList(before, after, key) {
  const old = new Map(before.map((item) => [item[key], item]));
  const result = after.map((item) => reconcile(old.get(item[key]), item));
  const same = result.length === before.length && result.every((item, i) => item === before[i]);
  return same ? before : result;
}
