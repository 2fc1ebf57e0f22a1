// SPDX-License-Identifier: Apache-2.0
// The last hour: GPUs, queues, and the VMs that used most.
import { html } from './lib.js';
import { get } from './api.js';
import { bytes, count, percent } from './format.js';
import { Chart } from './chart.js';
import { usePolled } from './vm-page.js';
import * as store from './store.js';

const VMS_SHOWN = 8;
const POLL_MS = 15000;

const total = (values) => values.reduce((sum, value) => sum + (value ?? 0), 0);
const nameOf = (id) => {
  const vm = store.vms.value.find((one) => one.vm_id === id);
  return vm?.name ? `VM ${id} (${vm.name})` : `VM ${id}`;
};

function Panel({ title, note, wide, ...chart }) {
  return html`<section class=${wide ? 'card wide-chart' : 'card'} aria-label=${title}>
    <h2>${title}</h2>${note ? html`<p class="quiet">${note}</p>` : null}
    <${Chart} label=${title} ...${chart} /></section>`;
}

export function History() {
  const history = usePolled(() => get('/history?minutes=60&step=30'), POLL_MS, []);
  const times = history?.times ?? [];
  const gpus = history?.gpus ?? [];
  const busiest = [...(history?.vms ?? [])]
    .filter((vm) => total(vm.share) > 0)
    .sort((a, b) => total(b.share) - total(a.share))
    .slice(0, VMS_SHOWN);
  const line = (values) => (gpu) => ({ name: `GPU ${gpu.gpu_id}`, values: values(gpu) });
  return html`<h1 tabindex="-1">The last hour</h1>
    <p class="intro">One point for each 30 seconds. The agent keeps it in memory: it begins
      anew when the agent restarts.</p>
    <div class="chart-grid">
    <${Panel} title="GPU time in use" times=${times} show=${percent} max=${1}
      series=${gpus.map(
        line((gpu) => gpu.utilization.map((value) => (value === null ? null : value / 100))),
      )} />
    <${Panel} title="GPU memory in use" times=${times} show=${bytes} binary=${true}
      series=${gpus.map(line((gpu) => gpu.memory_used_bytes))} />
    <${Panel} title="GPU temperature" times=${times} show=${(value) => `${Math.round(value)} °C`}
      series=${gpus.map(line((gpu) => gpu.temperature))} />
    <${Panel} title="Jobs in queue by pool" times=${times} show=${count}
      series=${(history?.pools ?? []).map((pool) => ({ name: `Pool ${pool.pool}`, values: pool.queue_depth }))} />
    <${Panel} wide=${true} title="Share of GPU time by VM" times=${times} show=${percent} max=${1}
      note=${busiest.length < (history?.vms.length ?? 0) ? `The ${busiest.length} that used most; each VM’s page has its own.` : ''}
      series=${busiest.map((vm) => ({ name: nameOf(vm.vm_id), values: vm.share }))} />
    </div>`;
}
