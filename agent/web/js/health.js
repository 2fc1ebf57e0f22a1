// SPDX-License-Identifier: Apache-2.0
// Health of all GPUs side by side, and the limits that say what counts as healthy.
import { html, useEffect, useState } from './lib.js';
import { Alert, ChangeButton, Empty, GpuState } from './ui.js';
import { clock, count, figure, unitText } from './format.js';
import { get } from './api.js';
import * as actions from './actions.js';
import * as store from './store.js';

const READINGS = [
  ['Why', (health) => health.reasons?.join('; ') || '–'],
  ['Temperature', (health) => figure(health.temperature, '°C')],
  ['Memory temperature', (health) => figure(health.temperature_memory, '°C')],
  ['Power', (health) => figure(health.power_w, 'W')],
  [
    'Slowed down by',
    (health) => health.throttle?.join(', ') || (health.throttle ? 'nothing' : '–'),
  ],
  ['Memory errors, corrected', (health) => count(health.ecc_corrected)],
  ['Memory errors, uncorrected', (health) => count(health.ecc_uncorrected)],
  ['Remapped rows', (health) => count(health.remapped_rows)],
  [
    'Last driver error (XID)',
    (health) => (health.last_xid ? `${health.last_xid}, ${clock(health.last_xid_time)}` : 'none'),
  ],
  ['Resets seen', (health) => count(health.resets)],
  ['Measured', (health) => clock(health.sampled)],
];

function Readings() {
  const gpus = store.gpuRows.value;
  if (!gpus.length)
    return html`<${Empty} icon="gpu" title="No GPU is recorded yet">
    <p>Scan for GPUs on the page <a href="#/">Host</a>.</p><//>`;
  return html`<div class="card table-box" tabindex="0" role="region"
    aria-label="Readings of all GPUs"><table class="readings"><thead><tr><th
    scope="col">Reading</th>
    ${gpus.map(
      (gpu) => html`<th scope="col" key=${gpu.gpu_id}>GPU ${gpu.gpu_id} <${GpuState}
      gpu=${gpu} /></th>`,
    )}</tr></thead>
    <tbody>${READINGS.map(
      ([label, show]) => html`<tr key=${label}><th scope="row">${label}</th>
      ${gpus.map(
        (gpu) => html`<td key=${gpu.gpu_id}>${gpu.health ? show(gpu.health) : '–'}</td>`,
      )}</tr>`,
    )}</tbody></table></div>`;
}

const ACTIONS = {
  ignore: 'nothing',
  warn: 'warn',
  stop: 'no new work on the GPU',
  drain: 'drain the GPU',
};

function Threshold({ item }) {
  return html`<tr role="row"><th role="rowheader" scope="row">${item.title}<small><code>${item.name}</code></small></th>
    <td role="cell" data-label="Limit"
      class="number">${`${item.value} ${unitText(item.unit)}`}${
        item.is_default ? null : html`<small>default ${item.default_value}</small>`
      }</td>
    <td role="cell" data-label="Then">${ACTIONS[item.action] ?? item.action}</td>
    <td role="cell" class="row-actions"><${ChangeButton} role="admin"
      label=${`Change the limit ${item.name}`}
      spec=${async () => actions.setThreshold(await get(`/thresholds/${item.name}`))}>Change<//>
      </td></tr>`;
}

export function Health() {
  const [state, setState] = useState({ list: null, problem: null });
  const made = store.ownChanges.value.length;
  useEffect(() => {
    let alive = true;
    get('/thresholds')
      .then((answer) => alive && setState({ list: answer.thresholds, problem: null }))
      .catch((problem) => alive && setState({ list: null, problem }));
    return () => {
      alive = false;
    };
  }, [made, store.events.value[0]?.seq]);
  return html`<h1 tabindex="-1">Health of the GPUs</h1><${Readings} />
    <section aria-labelledby="limits"><h2 id="limits">Limits</h2><p
      class="intro">What counts as trouble, and what happens then.</p>
    ${
      state.problem
        ? html`<${Alert} tone="warn" title="The limits cannot be read">
      <p>${state.problem.message}</p><//>`
        : null
    }
    ${
      state.list?.length
        ? html`<div class="card table-box"><table role="table" class="thresholds"
      aria-label="Limits"><thead role="rowgroup"><tr role="row"><th role="columnheader"
      scope="col">Reading</th>
      <th role="columnheader" scope="col" class="number">Limit</th><th role="columnheader"
        scope="col">Then</th><th role="columnheader" scope="col"><span
        class="visually-hidden">Actions</span></th></tr></thead>
      <tbody role="rowgroup">${state.list.map(
        (item) => html`<${Threshold} key=${item.name}
        item=${item} />`,
      )}</tbody></table></div>`
        : null
    }</section>`;
}
