// SPDX-License-Identifier: Apache-2.0
// The pages "Events" (what happened, live) and "Changes" (who changed what, with what this session
// can still undo).
import { html, signal, useEffect, useState } from './lib.js';
import { Icon } from './icons.js';
import { Alert, Badge, Empty, vmLink } from './ui.js';
import { clock } from './format.js';
import { groupAudit, subjectsText, verbText } from './describe.js';
import { get } from './api.js';
import { undo } from './toasts.js';
import * as store from './store.js';

const AUDIT_ROWS = 200;
const SEVERITIES = {
  info: ['info', 'info', 'Info'],
  warning: ['warn', 'warning', 'Warning'],
  error: ['error', 'error', 'Error'],
};

const severity = signal('');

function EventLine({ event }) {
  const [tone, icon, word] = SEVERITIES[event.severity] ?? SEVERITIES.info;
  return html`<li><time>${clock(event.time)}</time><${Badge} tone=${tone} icon=${icon}>${word}<//>
    <span class="log-text">${event.text}<small>${event.kind.replaceAll('-', ' ')}
      ${event.vm_id ? html` · <a href=${vmLink(event.vm_id)}>VM ${event.vm_id}</a>` : null}
      ${
        event.pool
          ? html` · <a
        href=${`#/pool/${encodeURIComponent(event.pool)}`}>Pool ${event.pool}</a>`
          : null
      }
      ${
        event.gpu_id === null || event.gpu_id === undefined ? null : ` · GPU ${event.gpu_id}`
      }</small></span></li>`;
}

export function Events() {
  const wanted = severity.value;
  const list = store.events.value.filter(
    (event) =>
      wanted === '' ||
      event.severity === wanted ||
      (wanted === 'warning' && event.severity === 'error'),
  );
  return html`<header class="page-head"><h1 tabindex="-1">Events</h1>
    <label class="inline">Show <select value=${wanted}
      onChange=${(e) => {
        severity.value = e.target.value;
      }}>
      <option value="">all</option><option value="warning">warnings and errors</option><option
        value="error">errors</option></select></label></header>
    <p class="intro">What happens on this host, as it happens; newest first. This list
      begins when you open the panel.</p>
    ${
      list.length
        ? html`<div role="log" aria-label="Events" aria-live="off"><ol
      class="log card">${list.map(
        (event) => html`<${EventLine} key=${`${event.seq}-${event.time}`}
      event=${event} />`,
      )}</ol></div>`
        : html`<${Empty} icon="bell" title="Nothing happened yet">
        <p>Connections of VMs, faults, quarantines and changes appear here.</p><//>`
    }`;
}

function OwnChanges() {
  const list = store.ownChanges.value;
  if (!list.length) return null;
  return html`<section class="card" aria-labelledby="own"><h2 id="own">Yours, in this session</h2>
    <ul class="log">
    ${list.map(
      (entry) => html`<li key=${entry.id}><time>${clock(entry.time)}</time><span
      class="log-text">${entry.text}
      ${entry.undone ? html`<small>undone</small>` : null}${
        !entry.undo && !entry.undone
          ? html`<small>${entry.note ?? 'cannot be undone'}</small>`
          : null
      }</span>
      ${
        entry.undo
          ? html`<button type="button" class="button" onClick=${() => undo(entry)}
        aria-label=${`Undo: ${entry.text}`}><${Icon} name="undo" />Undo</button>`
          : null
      }</li>`,
    )}</ul></section>`;
}

function linesText(lines) {
  return lines
    .map((line) =>
      line.from === null ? `${line.label}: ${line.to}` : `${line.label}: ${line.from} → ${line.to}`,
    )
    .join('; ');
}

function AuditRow({ group }) {
  const {
    rows: [row],
    item,
    subjects,
  } = group;
  return html`<tr role="row"><td role="cell" data-label="When"><time>${clock(row.time)}</time></td>
    <td role="cell" data-label="Who"><code>${row.who}</code></td>
    <td role="cell" data-label="What">
      <strong>${subjectsText(subjects)}</strong> ${verbText(item.verb, subjects.length > 1, true)}</td>
    <td role="cell" data-label="From and to">${linesText(item.lines)}</td></tr>`;
}

function useAudit() {
  const [state, setState] = useState({ rows: null, problem: null });
  const newest = store.events.value[0]?.seq;
  useEffect(() => {
    let alive = true;
    get(`/audit?limit=${AUDIT_ROWS}`)
      .then(({ audit }) => alive && setState({ rows: audit.reverse(), problem: null }))
      .catch((problem) => alive && setState((before) => ({ ...before, problem })));
    return () => {
      alive = false;
    };
  }, [newest, store.ownChanges.value.length]);
  return state;
}

export function Changes() {
  const { rows, problem } = useAudit();
  return html`<h1 tabindex="-1">Changes</h1>
    <p class="intro">Who changed what, with whichever tool: the newest ${AUDIT_ROWS} changes.</p>
    <${OwnChanges} />
    ${
      problem
        ? html`<${Alert} title="The audit log cannot be read"><p>${problem.message}</p><//>`
        : null
    }
    ${
      rows?.length
        ? html`<div class="card table-box"><table role="table" class="audit"
      aria-label="Audit log"><thead role="rowgroup"><tr role="row">
      ${['When', 'Who', 'What', 'From and to'].map(
        (name) => html`<th role="columnheader"
        scope="col" key=${name}>${name}</th>`,
      )}</tr></thead>
      <tbody role="rowgroup">${groupAudit(rows).map(
        (group) => html`<${AuditRow}
        key=${group.rows[0].seq} group=${group} />`,
      )}</tbody></table></div>`
        : null
    }
    ${rows && !rows.length ? html`<${Empty} icon="log" title="Nothing was changed yet" />` : null}`;
}
