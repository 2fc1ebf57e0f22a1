// SPDX-License-Identifier: Apache-2.0
// One VM: what it does now, its settings, memory, faults and last hour.
import { html, useEffect, useState } from './lib.js';
import { Icon } from './icons.js';
import { ChangeButton, Empty, Meter, VmState } from './ui.js';
import { bytes, clock, count, duration, percent } from './format.js';
import { VM_LIMITS, labelOf, showSetting } from './fields.js';
import { Chart } from './chart.js';
import { get, vmPath } from './api.js';
import * as actions from './actions.js';
import * as store from './store.js';

const DETAIL_MS = 5000;

/** What `read` gives, now and again each `ms`, and when one of `keys` changes. */
export function usePolled(read, ms, keys) {
  const [value, setValue] = useState(null);
  useEffect(() => {
    let alive = true;
    let timer = null;
    const once = async () => {
      try {
        const next = await read();
        if (alive) setValue(next);
      } catch {
        // The state of the connection is shown at the top; what was read last stays.
      }
      if (alive) timer = setTimeout(once, ms);
    };
    once();
    return () => {
      alive = false;
      clearTimeout(timer);
    };
  }, keys);
  return value;
}

function Fact({ label, children }) {
  return html`<div><dt>${label}</dt><dd>${children}</dd></div>`;
}

function Now({ vm, detail }) {
  const live = detail?.live;
  const refused = live?.refused_by
    ? Object.entries(live.refused_by)
        .filter(([, n]) => n)
        .map(([why, n]) => `${count(n)} by ${why}`)
        .join(', ')
    : '';
  return html`<section class="card" aria-labelledby="now"><h2 id="now">Now</h2><dl
    class="facts wide">
    <${Fact} label="Share of GPU time"><${Meter} value=${vm.share} mark=${vm.entitlement}
      label="Share of GPU time" />
      <small>${
        vm.entitlement
          ? `${percent(vm.entitlement)} is due to it`
          : 'nothing is due: it has no work'
      }</small><//>
    <${Fact} label="GPU">${vm.gpu_id === null ? '–' : `GPU ${vm.gpu_id}`}<//>
    <${Fact} label="Jobs in queue">${count(vm.queue_depth)}<//>
    <${Fact} label="Jobs done">${count(vm.jobs_done)}<//>
    <${Fact} label="Jobs failed">${count(vm.jobs_failed)}<//>
    <${Fact} label="Jobs refused">${count(vm.jobs_refused)}${
      refused ? html` <small>${refused}</small>` : null
    }<//>
    <${Fact} label="GPU time so far">${live ? duration(live.gpu_time_ns / 1e9) : '–'}<//>
    <${Fact} label="Waited so far">${live ? duration(live.wait_ns / 1e9) : '–'}<//>
    <${Fact} label="Programs on the GPU">${count(vm.channels)}<//></dl></section>`;
}

const MEMORY_PARTS = [
  ['held_bytes', 'Allocated by its programs'],
  ['context_bytes', 'Contexts (estimate)'],
  ['module_bytes', 'Code (estimate)'],
  ['graph_bytes', 'Graphs (estimate)'],
  ['nvml_bytes', 'As the GPU reports it'],
  ['unexplained_bytes', 'Unexplained'],
];

function Memory({ vm, detail }) {
  const memory = detail?.live?.memory;
  const limit = vm.memory_bytes;
  return html`<section class="card" aria-labelledby="memory"><h2 id="memory">GPU memory</h2>
    ${
      limit
        ? html`<${Meter} value=${(vm.used_bytes ?? 0) / limit} label="GPU memory in use"
      text=${`${bytes(vm.used_bytes)} of ${bytes(limit)}`} />`
        : html`<p>${bytes(vm.used_bytes)}, no limit</p>`
    }
    ${
      memory
        ? html`<dl class="facts">${MEMORY_PARTS.map(
            ([key, label]) => html`<${Fact} key=${key}
      label=${label}>${bytes(memory[key])}<//>`,
          )}</dl>`
        : null
    }</section>`;
}

function Settings({ vm }) {
  const names = ['pool', 'priority', 'weight', ...VM_LIMITS.map((limit) => limit.name)];
  return html`<section class="card" aria-labelledby="settings"><header class="section-head"><h2
    id="settings">Settings and limits</h2>
    <${ChangeButton} icon="edit" spec=${() => actions.editVm(vm, store.pools.value)}>Change<//>
      </header>
    <dl class="facts">${names.map(
      (name) => html`<${Fact} key=${name}
      label=${labelOf(name)}>${showSetting(name, vm[name])}<//>`,
    )}
      <${Fact} label="UUID"><code>${vm.uuid ?? 'none'}</code><//></dl></section>`;
}

function Faults({ vm, detail }) {
  const list = detail?.last_faults ?? [];
  return html`<section class="card" aria-labelledby="faults"><header class="section-head"><h2
    id="faults">Faults</h2>
    ${
      vm.faults_total || list.length
        ? html`<${ChangeButton}
      spec=${() => actions.clearFaults(vm)}>Forget all<//>`
        : null
    }</header>
    ${
      list.length
        ? html`<p
      class="quiet">${count(vm.faults)} count now, ${count(vm.faults_total)} in all</p>
      <ul class="log">${list.map(
        (fault, i) => html`<li key=${i}><time>${clock(fault.time)}</time>
        <strong>${fault.kind}</strong><span>${fault.text}</span></li>`,
      )}</ul>`
        : html`<p class="quiet">None. A fault is a job that failed, timed out or was ended
            through the VM’s own doing.</p>`
    }</section>`;
}

function hourOf(history, id) {
  const vm = history?.vms.find((item) => item.vm_id === id);
  if (!vm) return [];
  return [
    { name: 'Share', values: vm.share },
    { name: 'Due', values: vm.entitlement },
  ];
}

function Quarantined({ vm, detail }) {
  if (!vm.quarantined) return null;
  return html`<section class="card attention"><h2><${Icon} name="stop" />In quarantine</h2>
    <p>${vm.quarantine_reason}</p><p
      class="quiet">since ${clock(detail?.quarantine_time)}, by ${detail?.quarantined_by ?? 'unknown'}. All
      its jobs are refused until it is released.</p></section>`;
}

function Page({ vm }) {
  const id = vm.vm_id;
  const detail = usePolled(() => get(vmPath(id)), DETAIL_MS, [id, vm.revision]);
  const history = usePolled(() => get(`/history?minutes=60&step=30&vm_id=${id}`), 30000, [id]);
  return html`<p class="crumbs"><a href="#/">Host</a> / <a
    href=${`#/pool/${encodeURIComponent(vm.pool)}`}>Pool ${vm.pool}</a></p>
    <header class="page-head"><div><h1 tabindex="-1">VM ${id}${
      vm.name
        ? html` <span
      class="vm-name">${vm.name}</span>`
        : null
    }</h1>
      <p class="row"><${VmState} state=${vm.state} /></p></div>
      <div class="row">${
        vm.quarantined
          ? html`<${ChangeButton} kind="primary"
        spec=${() => actions.release(vm)}>Release<//>`
          : html`<${ChangeButton} spec=${() => actions.quarantine(vm)}>Quarantine<//>`
      }
      <${ChangeButton} role="admin" spec=${() => actions.removeVm(vm)}>Remove<//></div></header>
    <${Quarantined} vm=${vm} detail=${detail} />
    <div class="columns"><div><${Now} vm=${vm} detail=${detail} />
      <section class="card" aria-labelledby="hour"><h2 id="hour">The last hour</h2>
        <${Chart} label=${`Share of GPU time of VM ${id}`} times=${history?.times ?? []}
          series=${hourOf(history, id)} show=${percent} max=${1} /></section></div>
      <div><${Settings} vm=${vm} /><${Memory} vm=${vm} detail=${detail} /><${Faults} vm=${vm}
        detail=${detail} /></div></div>`;
}

export function VmPage({ id }) {
  const vm = store.vmRows.value.find((row) => row.vm_id === id);
  if (!vm) {
    return html`<h1 tabindex="-1">VM ${id}</h1><${Empty} icon="unknown"
      title="This VM is not known here">
      <p>It may have been removed. <a href="#/">Back to the host</a></p><//>`;
  }
  return html`<${Page} key=${id} vm=${vm} />`;
}
