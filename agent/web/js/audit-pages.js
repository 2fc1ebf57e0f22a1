// SPDX-License-Identifier: Apache-2.0
// The newest rows of a log that is served oldest first. Pure: the reader is an argument.

/**
 * Finds the highest sequence number by doubling and halving. isAfter(seq): whether a row follows
 * seq. start: a number known to have rows after it, or 0.
 */
export async function lastSeq(isAfter, start) {
  let low = start;
  let step = 1024;
  while (await isAfter(low + step)) {
    low += step;
    step *= 2;
  }
  let high = low + step;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (await isAfter(middle)) low = middle;
    else high = middle;
  }
  return high;
}

/** The newest `count` rows, newest first. read(after, limit): {audit, next}. */
export async function newestRows(read, count) {
  const first = await read(0, 1000);
  if (first.next === null || first.audit.length < 1000) return first.audit.slice(-count).reverse();
  const known = first.audit.at(-1).seq;
  const last = await lastSeq(async (seq) => (await read(seq, 1)).audit.length > 0, known);
  const page = await read(Math.max(0, last - count), count);
  return page.audit.slice(-count).reverse();
}
