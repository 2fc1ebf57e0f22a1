// SPDX-License-Identifier: Apache-2.0
// What was just done, with the way back. They stay while pointed at or focused; the page "Changes"
// keeps all of them.
import { html, useEffect, useRef } from './lib.js';
import { Icon } from './icons.js';
import * as store from './store.js';

export const TOASTS_SHOWN = 2;
const SHOWN_MS = 15000;

function drop(entry) {
  store.toasts.value = store.toasts.value.filter((other) => other !== entry);
}

export function undo(entry) {
  drop(entry);
  const spec = { ...entry.undo };
  const { done } = spec;
  spec.done = (...args) => {
    store.ownChanges.value = store.ownChanges.value.map((other) =>
      other.id === entry.id ? { ...other, undone: true, undo: null } : other,
    );
    return done(...args);
  };
  store.dialog.value = spec;
}

function Toast({ entry }) {
  const timer = useRef(null);
  const hold = () => clearTimeout(timer.current);
  const go = () => {
    timer.current = setTimeout(() => drop(entry), SHOWN_MS);
  };
  useEffect(() => {
    go();
    return hold;
  }, []);
  return html`<div class="toast" onMouseEnter=${hold} onMouseLeave=${go} onFocusIn=${hold}
    onFocusOut=${go}>
    <${Icon} name="ok" /><span class="toast-text">${entry.text}</span>
    ${
      entry.undo
        ? html`<button type="button" class="button quiet" onClick=${() => undo(entry)}>
      <${Icon} name="undo" />Undo</button>`
        : null
    }
    <button type="button" class="button quiet icon-only" aria-label="Dismiss"
      onClick=${() => drop(entry)}><${Icon} name="close" /></button></div>`;
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${store.toasts.value.map((entry) => html`<${Toast} key=${entry.id} entry=${entry} />`)}</div>`;
}
