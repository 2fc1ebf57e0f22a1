// SPDX-License-Identifier: Apache-2.0
// Lists of VM ids as people write them: "1-7, 9". Pure; used by the dialogs and by unit tests.

export const IDS_MAX = 1024; // VMs that a host can have
export const ID_MAX = 2147483647;

function parsePart(part) {
  const match = /^(\d{1,10})(?:\s*[-–]\s*(\d{1,10}))?$/.exec(part);
  if (!match) throw new Error(`“${part}” is not a number or a range such as 1-7`);
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  if (first < 1 || last > ID_MAX) throw new Error(`VM numbers go from 1 to ${ID_MAX}`);
  if (last < first) throw new Error(`${part} runs backwards: write ${last}-${first}`);
  if (last - first >= IDS_MAX) throw new Error(`${part} is more than ${IDS_MAX} VMs`);
  return [first, last];
}

/** The ids that text names, sorted, each once. Throws an Error whose message is for the person. */
export function parseRanges(text) {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  if (parts.length === 0) throw new Error('Write VM numbers, for example 1-7 or 3, 5, 8-12');
  const ids = new Set();
  for (const part of parts) {
    const [first, last] = parsePart(part);
    for (let id = first; id <= last; id++) ids.add(id);
    if (ids.size > IDS_MAX) throw new Error(`More than ${IDS_MAX} VMs`);
  }
  return [...ids].sort((a, b) => a - b);
}

/** The shortest text that names these ids: [1, 2, 3, 5] is "1-3, 5". */
export function formatRanges(ids) {
  const sorted = [...new Set(ids)].sort((a, b) => a - b);
  const parts = [];
  for (let i = 0; i < sorted.length; i++) {
    const first = sorted[i];
    while (i + 1 < sorted.length && sorted[i + 1] === sorted[i] + 1) i++;
    parts.push(sorted[i] === first ? `${first}` : `${first}-${sorted[i]}`);
  }
  return parts.join(', ');
}
