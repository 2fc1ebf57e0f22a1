// SPDX-License-Identifier: Apache-2.0
// Small parts that the views share.
import { html, memo } from './lib.js';
import { Icon } from './icons.js';
import { percent } from './format.js';
import * as store from './store.js';

/** tone: ok, warn, error, info, quiet. Never by colour alone: icon and word say it as well. */
export function Badge({ tone, icon, children }) {
  return html`<span class="badge ${tone}"><${Icon} name=${icon} />${children}</span>`;
}

const VM_STATES = {
  running: ['ok', 'run', 'Running'],
  waiting: ['info', 'wait', 'Waiting'],
  idle: ['quiet', 'idle', 'Idle'],
  disconnected: ['quiet', 'off', 'Not connected'],
  quarantined: ['error', 'stop', 'Quarantined'],
};

export const VmState = memo(({ state }) => {
  const [tone, icon, text] = VM_STATES[state] ?? ['quiet', 'unknown', 'Unknown'];
  return html`<${Badge} tone=${tone} icon=${icon}>${text}<//>`;
});

export const vmStateWord = (state) => VM_STATES[state]?.[2] ?? 'Unknown';

const GPU_STATES = {
  ok: ['ok', 'ok', 'Healthy'],
  warning: ['warn', 'warning', 'Warning'],
  stopped: ['error', 'pause', 'No new work'],
  draining: ['warn', 'pause', 'Drained'],
  unhealthy: ['error', 'error', 'Unhealthy'],
  missing: ['error', 'error', 'Missing'],
  unknown: ['quiet', 'unknown', 'Health unknown'],
  driverless: ['quiet', 'off', 'No driver'],
};

/** The worst that any source says of a GPU (row of store.gpuRows). */
export function gpuState(gpu) {
  if (gpu.state === 'missing') return 'missing';
  if (gpu.source === 'pci' || gpu.live?.state === 'no-driver') return 'driverless';
  const told = [gpu.health?.state, gpu.live?.state].find((state) => state && state !== 'unknown');
  return gpu.drained && ['ok', 'warning', undefined].includes(told)
    ? 'draining'
    : (told ?? 'unknown');
}

/** Whether resuming it does something: ends a drain, or forgets errors that count against it. */
export const canResume = (gpu) => gpu.drained || ['draining', 'unhealthy'].includes(gpuState(gpu));

export function GpuState({ gpu }) {
  const [tone, icon, text] = GPU_STATES[gpuState(gpu)] ?? GPU_STATES.unknown;
  return html`<${Badge} tone=${tone} icon=${icon}>${text}<//>`;
}

export const needsAttention = (gpu) => !['ok', 'unknown', 'driverless'].includes(gpuState(gpu));

const clamp = (value) => Math.min(1, Math.max(0, value ?? 0));

/** value, mark: 0-1 or null; the mark is a line at what is due. text: said beside and read out. */
export function Meter({ value, mark, label, text, tone = 'accent' }) {
  const shown = text ?? percent(value);
  return html`<span class="meter-box">
    <span class="meter ${tone}" role="meter" aria-label=${label} aria-valuemin="0"
      aria-valuemax="100"
      aria-valuenow=${Math.round(clamp(value) * 100)} aria-valuetext=${shown}>
      <span class="fill" style=${{ width: `${clamp(value) * 100}%` }}></span>
      ${
        mark === null || mark === undefined
          ? null
          : html`<span class="mark" style=${{ left: `${clamp(mark) * 100}%` }}></span>`
      }
    </span><span class="meter-text">${shown}</span></span>`;
}

async function open(spec) {
  try {
    store.dialog.value = await spec();
  } catch {
    // It could not be read: the state of the connection is shown at the top.
  }
}

/** A button that opens the dialog with a spec; says why where the token's role is not enough. */
export function ChangeButton({ spec, icon, kind = '', role = 'operate', children, label }) {
  const allowed = store.may(role);
  return html`<button type="button" class="button ${kind}" aria-label=${label}
    aria-disabled=${allowed ? undefined : 'true'}
    title=${allowed ? undefined : `Needs a token of role ${role}`}
    onClick=${() => {
      if (allowed) open(spec);
    }}>
    ${icon ? html`<${Icon} name=${icon} />` : null}${children}</button>`;
}

export function Empty({ icon, title, children }) {
  return html`<div class="empty"><${Icon} name=${icon} /><p
    class="empty-title">${title}</p>${children}</div>`;
}

/** role alert: it is read out as soon as it is there. */
export function Alert({ tone = 'error', title, children }) {
  const icon = { error: 'error', warn: 'warning', info: 'info' }[tone];
  return html`<div class="alert ${tone}" role=${tone === 'error' ? 'alert' : undefined}>
    <${Icon} name=${icon} /><div>${title ? html`<strong>${title}</strong>` : null}${children}</div>
      </div>`;
}

export const vmLink = (id) => `#/vm/${id}`;
