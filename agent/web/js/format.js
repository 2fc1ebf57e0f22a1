// SPDX-License-Identifier: Apache-2.0
// Figures as people read them. Pure. Unknown (null, undefined) is always an en dash.

export const UNKNOWN = '–';
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

const known = (value) => typeof value === 'number' && Number.isFinite(value);

function digits(value) {
  if (value >= 100 || Number.isInteger(value)) return value.toFixed(0);
  return value.toFixed(1).replace(/\.0$/, '');
}

export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  let power = 0;
  let scaled = value;
  while (Math.abs(scaled) >= 1024 && power < UNITS.length - 1) {
    scaled /= 1024;
    power++;
  }
  return `${digits(scaled)} ${UNITS[power]}`;
}

/** value: 0-1. */
export function percent(value) {
  if (!known(value)) return UNKNOWN;
  const scaled = value * 100;
  return `${scaled > 0 && scaled < 1 ? scaled.toFixed(1) : Math.round(scaled)} %`;
}

export function count(value) {
  if (!known(value)) return UNKNOWN;
  const digit = String(Math.round(value));
  return digit.length <= 3 ? digit : digit.replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

export function figure(value, unit) {
  return known(value) ? `${digits(value)}\u00a0${unit}` : UNKNOWN;
}

/** seconds: "3 s", "5 min", "2 h 10 min", "4 days". */
export function duration(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) {
    const minutes = Math.floor((s % 3600) / 60);
    return `${Math.floor(s / 3600)} h${minutes ? ` ${minutes} min` : ''}`;
  }
  const days = Math.floor(s / 86400);
  return days === 1 ? '1 day' : `${days} days`;
}

/** Both in seconds since 1970. */
export function ago(time, now = Date.now() / 1000) {
  if (!known(time)) return UNKNOWN;
  return now - time < 2 ? 'just now' : `${duration(now - time)} ago`;
}

const two = (number) => String(number).padStart(2, '0');

/** Local time of day; with the date where it is not today's. */
export function clock(time, now = Date.now() / 1000) {
  if (!known(time)) return UNKNOWN;
  const at = new Date(time * 1000);
  const text = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === new Date(now * 1000).toDateString()) return text;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${text}`;
}

/** Units of the API as people write them. */
export const unitText = (unit) => ({ celsius: '°C', count: '' })[unit] ?? unit ?? '';

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
