// SPDX-License-Identifier: Apache-2.0
// The one dialog that every change goes through: ask, show what will happen (a dry run), make it,
// offer to undo it. Problems are shown beside the field that they are about; where somebody else
// was faster, both values are shown.
import { html, useEffect, useId, useLayoutEffect, useRef, useState } from './lib.js';
import { parseField, run } from './actions.js';
import { describeChanges, subjectsText, verbText } from './describe.js';
import { Icon } from './icons.js';
import { TOASTS_SHOWN } from './toasts.js';
import { Alert } from './ui.js';
import * as store from './store.js';

function Control({ field, value, onChange, id, describedBy, invalid }) {
  const common = {
    id,
    name: field.name,
    'aria-describedby': describedBy,
    'aria-invalid': invalid ? 'true' : undefined,
  };
  if (field.kind === 'select') {
    return html`<select ...${common} value=${value} onChange=${(e) => onChange(e.target.value)}>
      ${field.options.map(
        (option) => html`<option key=${option.value} value=${option.value}
        selected=${option.value === value}>${option.label}</option>`,
      )}</select>`;
  }
  const numeric = field.kind === 'setting' || field.kind === 'decimal';
  return html`<span class="input-unit"><input ...${common} type="text" value=${value}
    inputmode=${numeric ? 'decimal' : undefined} autocomplete="off" spellcheck=${false}
    placeholder=${field.placeholder} class=${numeric ? 'number' : ''}
    onInput=${(e) => onChange(e.target.value)} />${
      field.unit
        ? html`<span
      class="unit">${field.unit}</span>`
        : null
    }</span>`;
}

function Checks({ field, value, onChange, describedBy }) {
  const toggle = (name, on) => onChange(on ? [...value, name] : value.filter((v) => v !== name));
  return html`<fieldset class="checks" aria-describedby=${describedBy}>
    <legend>${field.label}</legend>
    ${field.options.map(
      (option) => html`<label key=${option.value} class="check">
      <input type="checkbox" name=${field.name} value=${option.value}
        checked=${value.includes(option.value)}
        onChange=${(e) => toggle(option.value, e.target.checked)} />
      <span>${option.label}${option.note ? html`<small>${option.note}</small>` : null}</span>
        </label>`,
    )}</fieldset>`;
}

function Field({ field, value, onChange, error }) {
  const id = useId();
  const help = [field.help, field.zero ? `0: ${field.zero}.` : null].filter(Boolean).join(' ');
  const describedBy =
    [error ? `${id}-error` : null, help ? `${id}-help` : null].filter(Boolean).join(' ') ||
    undefined;
  return html`<div class="field ${error ? 'has-error' : ''}" data-field=${field.name}>
    ${
      field.kind === 'checks'
        ? html`<${Checks} field=${field} value=${value} onChange=${onChange}
        describedBy=${describedBy} />`
        : html`<label for=${id}>${field.label}</label>
        <${Control} field=${field} value=${value} onChange=${onChange} id=${id}
          describedBy=${describedBy} invalid=${Boolean(error)} />`
    }
    ${
      error
        ? html`<p class="field-error" id="${id}-error" role="alert"><${Icon}
      name="error" />${error}</p>`
        : null
    }
    ${help ? html`<p class="help" id="${id}-help">${help}</p>` : null}</div>`;
}

export function ChangeList({ changes }) {
  return html`<ul class="changes">${describeChanges(changes).map((item) => {
    const many = item.subjects.length > 1;
    const verb = verbText(item.verb, many, false);
    return html`<li key=${item.subjects[0] + item.verb}>
      <span class="subject">${subjectsText(item.subjects)}</span> ${verb}
      ${
        item.lines.length
          ? html`<ul>${item.lines.map(
              (line) => html`<li key=${line.label}>
        <span class="key">${line.label}</span>
        ${
          line.from === null
            ? null
            : html`<span class="from">${line.from}</span><span
          class="visually-hidden"> becomes </span><${Icon} name="arrow" />`
        }
        <span class="to">${line.to}</span></li>`,
            )}</ul>`
          : null
      }</li>`;
  })}</ul>`;
}

// The field that a problem is about: that of the name where it is taken, the one that it names
// first, else the only one there is.
function fieldOf(problem, fields) {
  if (!problem.status || problem.status >= 500 || problem.status === 401 || problem.status === 403)
    return null;
  if (problem.code === 'in-use') return null; // that is about what else there is
  const identity = fields.find((field) => field.identifies);
  if (problem.status === 412 && identity) return identity.name;
  const place = (field) => problem.message.search(new RegExp(`(?<![a-z_])${field.name}(?![a-z_])`));
  const [named] = fields.filter((field) => place(field) >= 0).sort((a, b) => place(a) - place(b));
  return (named ?? (fields.length === 1 ? fields[0] : null))?.name ?? null;
}

function checkFields(spec, values) {
  const errors = {};
  for (const field of spec.fields) {
    try {
      parseField(field, values[field.name]);
    } catch (error) {
      errors[field.name] = error.message;
    }
  }
  return errors;
}

function valueText(field, value) {
  if (Array.isArray(value)) return value.join(', ') || 'none';
  const option = field.options?.find((one) => one.value === value);
  return option?.label ?? ([value, field.unit].filter(Boolean).join(' ') || 'none');
}

function Conflict({ conflict, spec, values, touched, onTheirs, onMine }) {
  const { problem, fresh } = conflict;
  const theirs = fresh && spec.conflict.show ? spec.conflict.show(fresh) : null;
  const differing = theirs
    ? spec.fields.filter(
        (field) =>
          String(theirs[field.name]) !== String(spec.base[field.name]) || touched.has(field.name),
      )
    : [];
  return html`<div class="alert warn conflict" role="alert"><${Icon} name="warning" /><div>
    <strong>Somebody else changed this meanwhile</strong><p>${problem.message}</p>
    ${
      differing.length
        ? html`<table class="compare"><thead><tr><th scope="col">Setting</th>
      <th scope="col">Before</th><th scope="col">Theirs, in force now</th><th scope="col">Yours</th>
        </tr></thead>
      <tbody>${differing.map(
        (field) => html`<tr key=${field.name}><th
        scope="row">${field.label}</th>
        <td>${valueText(field, spec.base[field.name])}</td>
          <td>${valueText(field, theirs[field.name])}</td>
        <td>${touched.has(field.name) ? valueText(field, values[field.name]) : '–'}</td>
          </tr>`,
      )}</tbody></table>`
        : null
    }
    <p class="row"><button type="button" class="button" onClick=${onTheirs}>Keep theirs</button>
      ${
        fresh && spec.conflict.again
          ? html`<button type="button" class="button"
        onClick=${onMine}>Apply mine on top</button>`
          : null
      }</p>
  </div></div>`;
}

const SHOW_MS = 1500; // the dialog closes when the page shows the change, or then
const pause = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

let changeNumber = 0;

function remember(spec, values, results, changes) {
  const text = spec.done(values, results);
  const inverse = spec.undo(results, values, changes);
  const undo = inverse && store.may(inverse.role ?? 'operate') ? inverse : null;
  const entry = {
    id: ++changeNumber,
    text,
    time: Date.now() / 1000,
    undo,
    note:
      spec.undoNote ?? (inverse && !undo ? `undoing it needs the role ${inverse.role}` : undefined),
  };
  store.ownChanges.value = [entry, ...store.ownChanges.value].slice(0, 100);
  store.toasts.value = [entry, ...store.toasts.value].slice(0, TOASTS_SHOWN);
}

const EDIT = 'edit';
const LOOKING = 'looking';
const REVIEW = 'review';
const APPLYING = 'applying';

const differs = (a, b) => JSON.stringify(a) !== JSON.stringify(b);

// What the person chose, in the dialog or before it was opened: it stays in a conflict.
function chosenAtFirst({ base, values }) {
  return new Set(Object.keys(base ?? {}).filter((name) => differs(base[name], values[name])));
}

// What is asked, looked at and made; `first` is the spec that the dialog was opened with.
function useChange(first) {
  const begin = (spec) => ({
    spec: { ...spec, base: spec.base ?? spec.values },
    values: spec.values,
    step: EDIT,
    errors: {},
    problem: null,
    conflict: null,
    changes: [],
    requests: [],
  });
  const [state, setState] = useState(() => begin(first));
  const [touched] = useState(() => chosenAtFirst(first));
  const alive = useRef(true);
  const update = (part) => alive.current && setState((before) => ({ ...before, ...part }));

  const fail = async (error, spec) => {
    if (error.status === 412 && spec.conflict) {
      let fresh = null;
      try {
        fresh = spec.conflict.load ? await spec.conflict.load() : null;
      } catch {
        // Then there is nothing to compare with; the text says who changed it.
      }
      update({ step: EDIT, conflict: { problem: error, fresh } });
      return;
    }
    const name = fieldOf(error, spec.fields);
    update({
      step: EDIT,
      errors: name ? { [name]: error.message } : {},
      problem: name ? null : error,
    });
  };

  const review = async (spec, values) => {
    const errors = checkFields(spec, values);
    if (Object.keys(errors).length) {
      update({ errors, step: EDIT });
      return;
    }
    const requests = spec.requests(values);
    update({ step: LOOKING, errors: {}, problem: null, conflict: null });
    try {
      const results = spec.noDryRun ? [] : await run(requests, { dryRun: true });
      update({
        step: REVIEW,
        requests,
        changes: results.flatMap((result) => result.changes ?? []),
      });
    } catch (error) {
      await fail(error, spec);
    }
  };

  const apply = async () => {
    update({ step: APPLYING, problem: null });
    try {
      const results = await run(state.requests);
      remember(
        state.spec,
        state.values,
        results,
        results.flatMap((result) => result.changes ?? []),
      );
      await Promise.race([store.load(), pause(SHOW_MS)]);
      state.spec.after?.();
      return true;
    } catch (error) {
      if (error.made) store.load();
      await fail(error, state.spec);
      return false;
    }
  };

  useEffect(() => {
    if (first.ready) review(state.spec, state.values);
    return () => {
      alive.current = false;
    };
  }, []);

  return {
    state,
    touched,
    review: () => review(state.spec, state.values),
    apply,
    change: (name, value) => {
      touched.add(name);
      update({
        values: { ...state.values, [name]: value },
        step: EDIT,
        errors: {},
        problem: null,
        conflict: null,
      });
    },
    onTop: () => {
      const { fresh } = state.conflict;
      const theirs = state.spec.conflict.show?.(fresh) ?? {};
      const kept = Object.fromEntries([...touched].map((name) => [name, state.values[name]]));
      const spec = state.spec.conflict.again(fresh, { ...theirs, ...kept });
      setState(begin(spec));
      review(spec, spec.values);
    },
  };
}

function Preview({ state }) {
  const { step, spec, changes } = state;
  if (step === LOOKING) return html`<p class="looking">Looking at what will happen…</p>`;
  if (step !== REVIEW && step !== APPLYING) return null;
  if (spec.noDryRun) return html`<h3>What will happen</h3><p>${spec.noDryRun}</p>`;
  if (changes.length === 0) {
    return html`<p class="nothing"><${Icon}
      name="info" />${spec.nothing ?? 'Nothing would change: it is so already.'}</p>`;
  }
  return html`<h3>What will happen</h3><${ChangeList} changes=${changes} />`;
}

function Buttons({ state, onClose }) {
  const { step, spec, changes } = state;
  const busy = step === LOOKING || step === APPLYING;
  const reviewed = step === REVIEW || step === APPLYING;
  const pointless = reviewed && changes.length === 0 && !spec.noDryRun && !spec.runAnyway;
  let label = 'See what will happen';
  if (reviewed) label = step === APPLYING ? 'Applying…' : 'Apply';
  return html`<div class="buttons">
    <button type="button" class="button" onClick=${onClose}>${
      pointless ? 'Close' : 'Cancel'
    }</button>
    ${
      pointless
        ? null
        : html`<button type="submit" class="button primary ${
            spec.danger && reviewed ? 'danger' : ''
          }"
      aria-disabled=${busy ? 'true' : undefined}>${label}</button>`
    }</div>`;
}

const asText = (problem) =>
  problem.made
    ? `${problem.message} What came before it (${problem.made} of the steps) is done.`
    : problem.message;

function ChangeDialog({ spec: first, onClose }) {
  const box = useRef(null);
  const title = useId();
  const { state, touched, review, apply, change, onTop } = useChange(first);
  const { spec, step } = state;

  useLayoutEffect(() => {
    const opener = document.activeElement;
    const dialog = box.current;
    dialog.showModal();
    if (!first.ready) dialog.querySelector('.fields input, .fields select')?.focus();
    return () => {
      dialog.close();
      if (opener?.isConnected) opener.focus();
    };
  }, []);
  useEffect(() => {
    if (step === REVIEW)
      box.current
        ?.querySelector(
          spec.danger && spec.ready ? '.buttons .button' : '.buttons .button:last-child',
        )
        ?.focus();
    if (state.conflict) box.current?.querySelector('.conflict .button')?.focus();
    if (Object.keys(state.errors).length)
      box.current?.querySelector('[aria-invalid=true]')?.focus();
  }, [step, state.errors, state.conflict]);

  const submit = async (event) => {
    event.preventDefault();
    if (step === EDIT) await review();
    else if (step === REVIEW && (await apply())) onClose();
  };
  return html`<dialog ref=${box} class="dialog" aria-labelledby=${title}
    onClose=${onClose} onCancel=${(e) => {
      e.preventDefault();
      onClose();
    }}>
    <form onSubmit=${submit} novalidate>
      <header><h2 id=${title}>${spec.title}</h2>
        <button type="button" class="button quiet icon-only" aria-label="Close" onClick=${onClose}>
          <${Icon} name="close" /></button></header>
      <div class="dialog-body">
        ${spec.intro ? html`<p class="intro">${spec.intro}</p>` : null}
        ${
          state.problem
            ? html`<${Alert} title="It was not done"><p>${asText(state.problem)}</p>
          <//>`
            : null
        }
        ${
          state.conflict
            ? html`<${Conflict} conflict=${state.conflict} spec=${spec}
          values=${state.values}
          touched=${touched} onTheirs=${() => {
            store.load();
            onClose();
          }} onMine=${onTop} />`
            : null
        }
        <div class=${spec.fields.length > 4 ? 'fields two' : 'fields'}>
          ${spec.fields.map(
            (field) => html`<${Field} key=${field.name} field=${field}
            value=${state.values[field.name]} error=${state.errors[field.name]}
            onChange=${(value) => change(field.name, value)} />`,
          )}</div>
      </div>
      <div class="preview" aria-live="polite"><${Preview} state=${state} /></div>
      <footer>${
        state.conflict
          ? html`<div class="buttons"><button type="button" class="button"
        onClick=${onClose}>Close</button></div>`
          : html`<${Buttons} state=${state} onClose=${onClose} />`
      }</footer>
    </form></dialog>`;
}

let shown = 0;
let shownSpec = null;

export function DialogHost() {
  const spec = store.dialog.value;
  if (spec !== shownSpec) {
    shownSpec = spec;
    shown++;
  }
  if (!spec) return null;
  return html`<${ChangeDialog} key=${shown} spec=${spec}
    onClose=${() => {
      if (store.dialog.value === spec) store.dialog.value = null;
    }} />`;
}
