// SPDX-License-Identifier: Apache-2.0
// A pool and the table of its VMs. Rows are keyed and drawn again only when their own data changed;
// on arrival the first screen is drawn at once, and the rest in small steps after it.
import { Component, computed, html, memo, signal, useEffect, useState } from './lib.js';
import { Icon } from './icons.js';
import { ChangeButton, Empty, Meter, VmState, vmLink, vmStateWord } from './ui.js';
import { bytes, count, percent, plural } from './format.js';
import { PRIORITIES } from './fields.js';
import * as actions from './actions.js';
import * as store from './store.js';

const filter = signal('');
const onlyState = signal('');
const sort = signal({ key: 'vm_id', down: false });

const PRIORITY_ORDER = { high: 0, medium: 1, low: 2 };
const STATE_ORDER = { quarantined: 0, running: 1, waiting: 2, idle: 3, disconnected: 4 };

const COLUMNS = [
  { key: 'vm_id', label: 'VM', value: (vm) => vm.vm_id },
  { key: 'state', label: 'State', value: (vm) => STATE_ORDER[vm.state] ?? 5 },
  { key: 'priority', label: 'Priority', value: (vm) => PRIORITY_ORDER[vm.priority] },
  { key: 'weight', label: 'Weight', value: (vm) => vm.weight, number: true },
  { key: 'share', label: 'Share of GPU time', value: (vm) => vm.share ?? -1 },
  { key: 'queue_depth', label: 'Queue', value: (vm) => vm.queue_depth ?? -1, number: true },
  { key: 'used_bytes', label: 'Memory', value: (vm) => vm.used_bytes ?? -1, number: true },
  { key: 'faults', label: 'Faults', value: (vm) => vm.faults ?? 0, number: true },
];

const words = (vm) =>
  `${vm.vm_id} vm ${vm.vm_id} ${vm.name ?? ''} ${vm.uuid ?? ''} ${vm.priority}`.toLowerCase();

function shown(rows) {
  const wanted = filter.value.trim().toLowerCase();
  const { key, down } = sort.value;
  const { value } = COLUMNS.find((column) => column.key === key);
  const list = rows.filter(
    (vm) =>
      (wanted === '' || words(vm).includes(wanted)) &&
      (onlyState.value === '' || vm.state === onlyState.value),
  );
  const factor = down ? -1 : 1;
  return list.sort((a, b) => factor * (value(a) - value(b)) || a.vm_id - b.vm_id);
}

const shownByPool = computed(
  () => new Map([...store.vmsByPool.value].map(([pool, rows]) => [pool, shown(rows)])),
);

const FIRST_ROWS = 24;
const STEP_ROWS = 24;
const budget = signal(FIRST_ROWS);

/** Of each pool, the rows that are drawn by now: the pools' order decides. */
const drawnByPool = computed(() => {
  let left = budget.value;
  return new Map(
    store.pools.value.map(({ pool }) => {
      const rows = (shownByPool.value.get(pool) ?? []).slice(0, left);
      left -= rows.length;
      return [pool, rows];
    }),
  );
});

/** Draws the rest while nothing else is to do; for the view that has the pools. */
export function useGrowingTables() {
  useEffect(() => {
    budget.value = FIRST_ROWS;
    const idle = window.requestIdleCallback ?? ((grow) => setTimeout(grow, 10));
    let alive = true;
    const grow = () => {
      if (!alive || budget.value >= store.VMS_MAX) return;
      const most = store.vmRows.value.length;
      budget.value = budget.value >= most ? store.VMS_MAX : budget.value + STEP_ROWS;
      idle(grow, { timeout: 200 });
    };
    idle(grow, { timeout: 200 });
    return () => {
      alive = false;
      budget.value = FIRST_ROWS;
    };
  }, []);
}

const isFiltered = () => filter.value.trim() !== '' || onlyState.value !== '';

export function VmFilter() {
  const found = [...shownByPool.value.values()].reduce((total, rows) => total + rows.length, 0);
  return html`<div class="filter" role="search">
    <label class="search"><span class="visually-hidden">Find a VM by number, name or UUID</span>
      <${Icon} name="search" />
      <input type="search" value=${filter.value} placeholder="Find a VM" autocomplete="off"
        onInput=${(e) => {
          filter.value = e.target.value;
        }} /></label>
    <label class="inline">State <select value=${onlyState.value}
      onChange=${(e) => {
        onlyState.value = e.target.value;
      }}>
      <option value="">any</option>${Object.keys(STATE_ORDER).map(
        (state) => html`<option
        key=${state} value=${state}>${vmStateWord(state)}</option>`,
      )}
    </select></label>
    <span class="quiet" role="status">${isFiltered() ? `${plural(found, 'VM')} found` : ''}</span>
      </div>`;
}

function Share({ vm }) {
  const due = vm.entitlement;
  const text = vm.share === null ? '–' : percent(vm.share);
  const spoken = due === null || due === undefined ? text : `${text}, ${percent(due)} due`;
  return html`<span class="share"><${Meter} value=${vm.share} mark=${due} text=${text}
    label=${`Share of VM ${vm.vm_id}: ${spoken}`} tone=${vm.quarantined ? 'quiet' : 'accent'} />
    <span class="due" aria-hidden="true">${due ? `of ${percent(due)}` : ''}</span></span>`;
}

// The control shows what is in force; what is chosen becomes so only through the dialog.
function pick(event, before, open) {
  const chosen = event.target.value;
  event.target.value = before;
  if (chosen !== String(before)) store.dialog.value = open(chosen);
}

const rowOf = (id) => store.vmRows.value.find((vm) => vm.vm_id === id);

const Priority = memo(({ id, priority }) => {
  if (!store.may('operate')) return PRIORITIES.find((p) => p.value === priority).label;
  return html`<select aria-label=${`Priority of VM ${id}`} value=${priority}
    onChange=${(e) => pick(e, priority, (value) => actions.setPriority(rowOf(id), value))}>
    ${PRIORITIES.map(
      (p) => html`<option key=${p.value} value=${p.value}
      selected=${p.value === priority}>${p.label}</option>`,
    )}</select>`;
});

// What is being typed stays while live figures come in.
function WeightInput({ id, weight }) {
  const [draft, setDraft] = useState(null);
  return html`<input class="number small" type="text" inputmode="decimal" autocomplete="off"
    aria-label=${`Weight of VM ${id}`} value=${draft ?? weight}
    onInput=${(e) => setDraft(e.target.value)} onBlur=${() => setDraft(null)}
    onChange=${(e) => pick(e, weight, (value) => actions.setWeight(rowOf(id), value))} />`;
}

const Weight = memo(({ id, weight }) =>
  store.may('operate') ? html`<${WeightInput} id=${id} weight=${weight} />` : weight,
);

const memoryText = (vm) =>
  vm.memory_bytes ? `${bytes(vm.used_bytes)} of ${bytes(vm.memory_bytes)}` : bytes(vm.used_bytes);

const Identity = memo(
  ({ id, name }) => html`<th role="rowheader" scope="row"><a
  href=${vmLink(id)}>VM ${id}</a>${name ? html`<span class="vm-name">${name}</span>` : null}</th>`,
);

const RowActions = memo(
  ({ id, quarantined }) => html`<td role="cell" class="row-actions">
  <${ChangeButton} spec=${() => actions.editVm(rowOf(id), store.pools.value)}
    label=${`Limits of VM ${id}`}>Limits<//>
  ${
    quarantined
      ? html`<${ChangeButton} spec=${() => actions.release(rowOf(id))}
      label=${`Release VM ${id}`}>Release<//>`
      : html`<${ChangeButton} spec=${() => actions.quarantine(rowOf(id))}
      label=${`Quarantine VM ${id}`}>Quarantine<//>`
  }</td>`,
);

// The figures of a row that is far from the screen wait until it comes near.
const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) target.vmRow?.look(isIntersecting);
  },
  { rootMargin: '400px 0px' },
);

class VmRow extends Component {
  constructor(props) {
    super(props);
    this.near = true;
    this.stale = false;
    this.take = (element) => {
      if (this.element) near.unobserve(this.element);
      this.element = element;
      if (!element) return;
      element.vmRow = this;
      near.observe(element);
    };
  }

  look(isNear) {
    this.near = isNear;
    if (isNear && this.stale) this.forceUpdate();
  }

  shouldComponentUpdate({ vm, role }) {
    const before = this.props.vm;
    if (before === vm && role === this.props.role) return false;
    const settled =
      before.revision === vm.revision && before.state === vm.state && role === this.props.role;
    this.stale = settled && !this.near;
    return !this.stale;
  }

  render({ vm, role }) {
    this.stale = false;
    const id = vm.vm_id;
    return html`<tr role="row" ref=${this.take} data-vm=${id} class=${
      vm.quarantined ? 'is-quarantined' : ''
    }>
      <${Identity} id=${id} name=${vm.name} />
      <td role="cell" data-label="State"><${VmState} state=${vm.state} /></td>
      <td role="cell" data-label="Priority"><${Priority} id=${id} priority=${vm.priority}
        role=${role} /></td>
      <td role="cell" data-label="Weight" class="number"><${Weight} id=${id} weight=${vm.weight}
        role=${role} /></td>
      <td role="cell" data-label="Share"><${Share} vm=${vm} /></td>
      <td role="cell" data-label="Queue" class="number">${count(vm.queue_depth)}</td>
      <td role="cell" data-label="Memory" class="number">${memoryText(vm)}</td>
      <td role="cell" data-label="Faults" class="number">${count(vm.faults)}</td>
      <${RowActions} id=${id} quarantined=${vm.quarantined} role=${role} /></tr>`;
  }
}

function Head({ column }) {
  const { key, down } = sort.value;
  const active = key === column.key;
  const order = down ? 'descending' : 'ascending';
  return html`<th role="columnheader" scope="col" class=${column.number ? 'number' : ''}
    aria-sort=${active ? order : undefined}>
    <button type="button" class="sort"
      onClick=${() => {
        sort.value = { key: column.key, down: active ? !down : false };
      }}>
      ${column.label}${active ? html`<${Icon} name=${down ? 'down' : 'up'} />` : null}</button>
        </th>`;
}

function VmTable({ pool, rows, more }) {
  return html`<div class="table-box"><table role="table" class="vms"
    aria-label=${`VMs of pool ${pool.pool}`}>
    <thead role="rowgroup"><tr role="row">${COLUMNS.map(
      (column) => html`<${Head} key=${column.key}
      column=${column} />`,
    )}
      <th role="columnheader" scope="col"><span class="visually-hidden">Actions</span></th></tr>
        </thead>
    <tbody role="rowgroup">${rows.map(
      (vm) => html`<${VmRow} key=${vm.vm_id} vm=${vm}
      role=${store.role.value} />`,
    )}
      ${
        more
          ? html`<tr class="to-come" aria-hidden="true" style=${{ '--rows': more }}><td></td>
        </tr>`
          : null
      }</tbody></table></div>`;
}

const POLICY_WORDS = { wfq: 'fair shares', strict: 'strict priority' };

function Room({ pool }) {
  const room = store.capacity.value.get(pool.pool);
  if (!room) return null;
  if (room.admits)
    return pool.max_vms
      ? html`<span>room for ${plural(pool.max_vms - room.vms, 'more VM', 'more VMs')}</span>`
      : null;
  return html`<span class="warn-text"><${Icon}
    name="warning" />takes no more VMs: ${room.reason}</span>`;
}

function Gpus({ pool }) {
  if (!pool.gpus.length)
    return html`<span class="warn-text"><${Icon}
    name="warning" />no GPU yet</span>`;
  return html`<span>on GPU ${pool.gpus.join(', ')}</span>`;
}

function Body({ pool, rows, all }) {
  if (rows.length) {
    const drawn = drawnByPool.value.get(pool.pool) ?? [];
    return html`<${VmTable} pool=${pool} rows=${drawn} more=${rows.length - drawn.length} />`;
  }
  if (all && isFiltered())
    return html`<p
    class="quiet pad">None of its ${plural(all, 'VM')} fits the filter.</p>`;
  return html`<${Empty} icon="host" title=${`Pool ${pool.pool} has no virtual machines`}>
    <p>Add them by number, for example 1-7.</p><//>`;
}

export function PoolSection({ pool }) {
  const all = store.vmsByPool.value.get(pool.pool)?.length ?? 0;
  const rows = shownByPool.value.get(pool.pool) ?? [];
  return html`<section class="card pool" id=${`pool-${encodeURIComponent(pool.pool)}`}
    aria-labelledby=${`pool-h-${encodeURIComponent(pool.pool)}`}>
    <header><div><h3 id=${`pool-h-${encodeURIComponent(pool.pool)}`}
      tabindex="-1">Pool ${pool.pool}</h3>
      <p class="pool-facts"><span>${plural(all, 'VM')}</span><${Gpus} pool=${pool} />
        <span>${POLICY_WORDS[pool.policy]}</span><${Room} pool=${pool} />
      ${pool.description ? html`<span>${pool.description}</span>` : null}</p></div>
      <div class="row"><${ChangeButton} role="operate" icon="plus"
        label=${`Assign VMs to pool ${pool.pool}`}
        spec=${() => actions.assignVms(store.pools.value, store.vms.value, { pool: pool.pool })}>Assign VMs<//>
      <${ChangeButton} role="admin" label=${`Settings of pool ${pool.pool}`}
        spec=${() => actions.editPool(pool)}>Settings<//>
      <${ChangeButton} role="admin" label=${`Remove pool ${pool.pool}`}
        spec=${() => actions.removePool(pool)}>Remove<//></div></header>
    <${Body} pool=${pool} rows=${rows} all=${all} /></section>`;
}

export function Legend() {
  return html`<details class="legend"><summary>What the columns mean</summary><dl class="facts">
      <div><dt>Share of GPU time</dt>
        <dd>What the VM got in the last ten seconds. The line in the bar, and “of”, is
          what priority and weight give it among those that have work; a VM that asks for less gets
          less.</dd></div>
      <div><dt>Queue</dt><dd>Jobs taken in and not yet done. A job is one launch, copy or fill.</dd>
        </div>
      <div><dt>Priority and weight</dt>
        <dd>High counts four times, medium twice, low once, times the weight.</dd></div>
      <div><dt>Faults</dt>
        <dd>Jobs that failed, timed out or were ended within the window. Too many put
          the VM into quarantine.</dd></div></dl></details>`;
}
