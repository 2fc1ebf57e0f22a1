// SPDX-License-Identifier: Apache-2.0
// The host at a glance: what needs attention, figures, GPUs, and the pools with their VMs.
import { html, memo } from './lib.js';
import { Icon } from './icons.js';
import {
  Alert,
  ChangeButton,
  Empty,
  GpuState,
  Meter,
  canResume,
  gpuState,
  needsAttention,
  vmLink,
} from './ui.js';
import { bytes, count, figure, percent, plural } from './format.js';
import { Legend, PoolSection, VmFilter, useGrowingTables } from './pools.js';
import * as actions from './actions.js';
import * as store from './store.js';

function Tile({ label, value, note, tone }) {
  return html`<div class="tile"><dt>${label}</dt><dd class="figure">${value}</dd>
    <dd class="note ${tone ?? ''}">${
      tone === 'warn' ? html`<${Icon} name="warning" />` : null
    }${note}</dd></div>`;
}

const sum = (list, pick) => list.reduce((total, item) => total + (pick(item) ?? 0), 0);

function Tiles() {
  const gpus = store.gpuRows.value;
  const vms = store.vmRows.value;
  const present = gpus.filter((gpu) => gpu.state !== 'missing');
  const busy = present.filter((gpu) => typeof gpu.live?.utilization === 'number');
  const bad = gpus.filter(needsAttention).length;
  const running = vms.filter((vm) => vm.state === 'running').length;
  const waiting = vms.filter((vm) => vm.state === 'waiting').length;
  const quarantined = vms.filter((vm) => vm.quarantined).length;
  const used = sum(present, (gpu) => gpu.live?.memory_used_bytes);
  const total = sum(present, (gpu) => gpu.memory_bytes);
  return html`<dl class="tiles">
    <${Tile} label="GPUs" value=${count(present.length)} tone=${bad ? 'warn' : ''}
      note=${
        bad
          ? `${bad} need${bad === 1 ? 's' : ''} attention`
          : gpus.length
            ? 'none needs attention'
            : 'none recorded yet'
      } />
    <${Tile} label="GPU time in use"
      value=${
        busy.length ? percent(sum(busy, (gpu) => gpu.live.utilization) / busy.length / 100) : '–'
      } note="now, mean of all GPUs" />
    <${Tile} label="GPU memory" value=${bytes(used)} note=${`of ${bytes(total)}`} />
    <${Tile} label="Virtual machines" value=${count(vms.length)}
      note=${`${running} running, ${waiting} waiting`} />
    <${Tile} label="Jobs in queue" value=${count(sum(vms, (vm) => vm.queue_depth))}
      note="taken in, not yet done" />
    <${Tile} label="In quarantine" value=${count(quarantined)} tone=${quarantined ? 'warn' : ''}
      note=${quarantined ? 'jobs are refused' : 'all VMs are served'} />
  </dl>`;
}

function poolsWithoutGpu() {
  const good = new Set(
    store.gpuRows.value
      .filter(
        (gpu) =>
          !['missing', 'unhealthy', 'stopped', 'draining', 'driverless'].includes(gpuState(gpu)),
      )
      .map((gpu) => gpu.gpu_id),
  );
  return store.pools.value.filter(
    (pool) => pool.vms.length && !pool.gpus.some((id) => good.has(id)),
  );
}

function gpuTrouble(gpu) {
  const state = gpuState(gpu);
  if (state === 'missing') return 'is missing: it was here at an earlier scan';
  if (gpu.drained) return `is drained: ${gpu.drain_reason ?? 'nothing new starts on it'}`;
  return gpu.health?.reasons?.join('; ') || `is ${state}`;
}

function Attention() {
  const gpus = store.gpuRows.value.filter(needsAttention);
  const vms = store.vmRows.value.filter((vm) => vm.quarantined);
  const starved = poolsWithoutGpu();
  if (!gpus.length && !vms.length && !starved.length) return null;
  return html`<section class="card attention" aria-labelledby="attention"><h2 id="attention">
    <${Icon} name="warning" />Needs attention</h2><ul>
    ${gpus.map(
      (gpu) => html`<li key=${`g${gpu.gpu_id}`}><span>
      <strong>GPU ${gpu.gpu_id}</strong>${' '}${gpuTrouble(gpu)}
      ${
        gpu.pools.length ? html`<small>Pools that suffer: ${gpu.pools.join(', ')}</small>` : null
      }</span>
      ${
        canResume(gpu) && html`<${ChangeButton} spec=${() => actions.resume(gpu)}>Resume<//>`
      }</li>`,
    )}
    ${starved.map(
      (pool) => html`<li key=${`p${pool.pool}`}><span>
      <strong>Pool ${pool.pool}</strong>${' '}has ${plural(pool.vms.length, 'VM')} but no GPU that works
      <small>Assign a GPU to it, under GPUs.</small></span></li>`,
    )}
    ${vms.map(
      (vm) => html`<li key=${`v${vm.vm_id}`}><span><strong><a
      href=${vmLink(vm.vm_id)}>VM ${vm.vm_id}${vm.name ? ` (${vm.name})` : ''}</a>
      </strong>${' '}is in quarantine<small>${vm.quarantine_reason}</small></span>
      <${ChangeButton} spec=${() => actions.release(vm)}>Release<//></li>`,
    )}</ul></section>`;
}

function Fact({ label, children }) {
  return html`<div><dt>${label}</dt><dd>${children}</dd></div>`;
}

function GpuDetails({ gpu }) {
  const health = gpu.health ?? {};
  const throttle = health.throttle?.length
    ? health.throttle.join(', ')
    : health.throttle
      ? 'none'
      : '–';
  return html`<details><summary>Details of GPU ${gpu.gpu_id}</summary><dl class="facts">
    <${Fact} label="UUID"><code>${gpu.uuid}</code><//>
    <${Fact} label="PCI address"><code>${gpu.pci}</code><//>
    <${Fact} label="Kernel driver">${gpu.driver ?? 'unknown'}<//>
    <${Fact} label="NUMA node">${gpu.numa_node ?? '–'}<//>
    <${Fact} label="MIG partitions">${gpu.mig_mode ?? '–'}<//>
    <${Fact} label="Memory temperature">${figure(health.temperature_memory, '°C')}<//>
    <${Fact} label="Clock">${figure(health.clock_sm_mhz, 'MHz')}<//>
    <${Fact} label="Slowed down by">${throttle}<//>
    <${Fact} label="Memory errors, corrected">${count(health.ecc_corrected)}<//>
    <${Fact} label="Memory errors, uncorrected">${count(health.ecc_uncorrected)}<//>
    <${Fact} label="Last driver error (XID)">${health.last_xid ?? 'none'}<//>
    <${Fact} label="Resets seen">${count(health.resets)}<//></dl>
    ${
      gpu.state === 'missing' || gpu.source === 'pci'
        ? null
        : html`<p class="row"><${ChangeButton}
      role="admin"
      spec=${() => actions.resetGpu(gpu)}>Reset hardware…<//></p>`
    }</details>`;
}

function vmsOf(name) {
  const pool = store.pools.value.find((one) => one.pool === name);
  return plural(pool?.vms.length ?? 0, 'VM');
}

function PoolChips({ gpu }) {
  if (gpu.source === 'pci') {
    return html`<p class="quiet">Seen on the PCI bus only: NVIDIA’s driver does not have it, so no pool
      can use it.</p>`;
  }
  if (!gpu.pools.length) return html`<p class="quiet">In no pool yet: no VM can use it.</p>`;
  return html`<ul class="chips" aria-label="Pools on this GPU">${gpu.pools.map(
    (name) => html`<li
    key=${name}>
    <a class="chip" href=${`#/pool/${encodeURIComponent(name)}`}>Pool ${name}<small>${vmsOf(name)}</small></a></li>`,
  )}</ul>`;
}

const power = (health) =>
  typeof health?.power_w === 'number'
    ? `${Math.round(health.power_w)}${
        health.power_limit_w ? ` of ${Math.round(health.power_limit_w)}` : ''
      } W`
    : '–';

const GpuCard = memo(({ gpu, pools, role }) => {
  const { live } = gpu;
  const usable = gpu.state !== 'missing' && gpu.source !== 'pci';
  const busy = typeof live?.utilization === 'number' ? live.utilization / 100 : null;
  const memory = live?.memory_used_bytes ?? null;
  return html`<article class="card gpu" aria-labelledby=${`gpu-${gpu.gpu_id}`} data-role=${role}>
    <header><h3 id=${`gpu-${gpu.gpu_id}`}>GPU ${gpu.gpu_id}</h3><${GpuState} gpu=${gpu} /></header>
    <p class="model">${gpu.model}</p>
    ${
      !usable
        ? null
        : html`<dl class="meters">
      <div><dt>In use</dt><dd><${Meter} value=${busy} label=${`GPU ${gpu.gpu_id} in use`} /></dd>
        </div>
      <div><dt>Memory</dt><dd><${Meter} value=${memory === null ? null : memory / gpu.memory_bytes}
        label=${`GPU ${gpu.gpu_id} memory`}
          text=${`${bytes(memory)} of ${bytes(gpu.memory_bytes)}`} /></dd></div>
      <div class="pair"><dt>Temperature</dt>
        <dd>${figure(live?.temperature ?? gpu.health?.temperature, '°C')}</dd></div>
      <div class="pair"><dt>Power</dt><dd>${power(gpu.health)}</dd></div>
      <div class="pair"><dt>Runs now</dt><dd>${
        live?.holder_vm_id
          ? html`<a
        href=${vmLink(live.holder_vm_id)}>VM ${live.holder_vm_id}</a>`
          : 'nothing'
      }</dd></div>
        </dl>`
    }
    <${PoolChips} gpu=${gpu} />
    <div class="row actions">
      ${
        gpu.source === 'pci'
          ? null
          : html`<${ChangeButton} role="admin"
        spec=${() => actions.setGpuPools(gpu, pools)}
        label=${`Assign pools to GPU ${gpu.gpu_id}`}>Assign pools<//>`
      }
      ${
        usable &&
        !gpu.drained &&
        html`<${ChangeButton} spec=${() => actions.drain(gpu)}
          label=${`Drain GPU ${gpu.gpu_id}`}>Drain<//>`
      }
      ${
        canResume(gpu) &&
        html`<${ChangeButton} spec=${() => actions.resume(gpu)}
          label=${`Resume GPU ${gpu.gpu_id}`}>Resume<//>`
      }</div>
    <${GpuDetails} gpu=${gpu} /></article>`;
});

function Gpus() {
  const gpus = store.gpuRows.value;
  return html`<section aria-labelledby="gpus"><header class="section-head"><h2 id="gpus">GPUs</h2>
    <${ChangeButton} icon="scan" spec=${() => actions.scan()}>Scan for GPUs<//></header>
    ${
      gpus.length
        ? html`<div class="gpu-grid">${gpus.map(
            (gpu) => html`<${GpuCard}
      key=${gpu.gpu_id} gpu=${gpu}
      pools=${store.pools.value} role=${store.role.value} />`,
          )}</div>`
        : html`<${Empty} icon="gpu" title="No GPU is recorded yet">
        <p>A scan finds the GPUs of this host. It changes nothing on them.</p><//>`
    }</section>`;
}

function Pools() {
  useGrowingTables();
  const pools = store.pools.value;
  return html`<section aria-labelledby="pools"><header class="section-head"><h2
    id="pools">Pools and virtual machines</h2>
    <div class="row">${
      pools.length
        ? html`<${ChangeButton} role="operate" icon="plus"
      spec=${() => actions.assignVms(pools, store.vms.value)}>Assign VMs<//>`
        : null
    }
    <${ChangeButton} role="admin" icon="plus" spec=${() => actions.createPool()}>New pool<//></div>
      </header>
    ${
      pools.length
        ? html`<${VmFilter} />
      ${pools.map((pool) => html`<${PoolSection} key=${pool.pool} pool=${pool} />`)}
      <${Legend} />`
        : html`<${Empty} icon="host" title="No pool yet">
        <p>A pool is a group of virtual machines that share one or more GPUs. Create
        one, assign a GPU to it, then its VMs.</p><//>`
    }</section>`;
}

function MediatorDown() {
  if (store.mediatorUp.value) return null;
  return html`<${Alert} title="The mediator is not running">
    <p>Jobs that run go on, no new ones start, and nothing can be changed. Live figures are those last known.
    On the host: <code>systemctl status vgpu-mediator</code></p><//>`;
}

export function Overview() {
  const host = store.host.value;
  return html`<h1 tabindex="-1">${host.hostname}</h1><${MediatorDown} />
    <${Tiles} /><${Attention} /><${Gpus} /><${Pools} />`;
}
