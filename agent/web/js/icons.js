// SPDX-License-Identifier: Apache-2.0
// Line icons, 16 by 16. They decorate: what they mean also stands there as text.
import { html } from './lib.js';

const PATHS = {
  ok: 'M3.5 8.5l3 3 6-7',
  warning: 'M8 2.2l6.3 11.3H1.7zM8 6.5v3.2M8 11.6v.3',
  error: 'M5.2 2h5.6L14 5.2v5.6L10.8 14H5.2L2 10.8V5.2zM8 5v3.8M8 10.9v.3',
  info: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 7.3v3.9M8 5v.3',
  unknown:
    'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM6.2 6.3c0-2.4 3.7-2.3 3.7 0 0 1.4-1.9 1.4-1.9 2.9M8 11.2v.3',
  idle: 'M8 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z',
  off: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM4.5 8h7',
  run: 'M5 3.2l7.5 4.8L5 12.8z',
  wait: 'M4.5 2h7M4.5 14h7M5.2 2c0 6 5.6 6 5.6 12M10.8 2c0 6-5.6 6-5.6 12',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  stop: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM3.8 3.8l8.4 8.4',
  gpu: 'M1.5 3v11M1.5 4.5h13v7h-13M8.6 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM4 7v2M12.3 7v2',
  pulse: 'M1.5 8.5h3l2-5 3 9.5 2-4.5h3',
  host: 'M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5v.1M5 11v.1',
  chart: 'M2 13.5h12M3.5 11l3-4 2.5 2L13 3.5',
  bell: 'M4 11.5h8c-1-1-1.2-2-1.2-4.5 0-4-5.6-4-5.6 0 0 2.5-.2 3.5-1.2 4.5zM7 13.5h2',
  log: 'M3.5 2h9v12h-9zM6 5.5h4M6 8h4M6 10.5h2.5',
  scan: 'M2 5V2h3M11 2h3v3M14 11v3h-3M5 14H2v-3M2 8h12',
  plus: 'M8 3v10M3 8h10',
  close: 'M4 4l8 8M12 4l-8 8',
  undo: 'M6 3L3 6l3 3M3 6h6.5a3.5 3.5 0 0 1 0 7H7',
  sun: 'M8 10.8a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6zM8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9',
  moon: 'M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5z',
  auto: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 2v12M8 5l3.5-1M8 8h6M8 11l3.5 1',
  exit: 'M6 2.5H3v11h3M7 8h6.5M11 5.5L13.5 8 11 10.5',
  arrow: 'M3 8h10M9.5 4.5L13 8l-3.5 3.5',
  up: 'M8 12.5v-9M4.5 7L8 3.5 11.5 7',
  down: 'M8 3.5v9M4.5 9L8 12.5 11.5 9',
  search: 'M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.3 10.3L14 14',
  edit: 'M3 13l.6-2.6L11 3l2 2-7.4 7.4z',
  offline:
    'M2 2l12 12M4 7.5A7 7 0 0 1 6.3 6M9.5 5.8A7 7 0 0 1 12 7.5M6.3 10a2.6 2.6 0 0 1 3.4 0M8 12.5v.1',
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <path d=${PATHS[name] ?? PATHS.unknown} /></svg>`;
}
