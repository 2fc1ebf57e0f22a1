// SPDX-License-Identifier: Apache-2.0
// The frame: navigation, state of the connection, theme, and which page is shown.
import { effect, html, render, useEffect, useState } from './lib.js';
import { Icon } from './icons.js';
import { Alert } from './ui.js';
import { DialogHost } from './dialog.js';
import { Toasts } from './toasts.js';
import { Login } from './login.js';
import { Overview } from './overview.js';
import { VmPage } from './vm-page.js';
import { History } from './history.js';
import { Changes, Events } from './logs.js';
import { Health } from './health.js';
import { connectNow, startStream } from './stream.js';
import { setToken, whenUnauthorized } from './api.js';
import * as store from './store.js';

const HEALTH_MS = 5000;

const PAGES = [
  { path: '/', name: 'Host', icon: 'host', view: Overview },
  { path: '/history', name: 'History', icon: 'chart', view: History },
  { path: '/events', name: 'Events', icon: 'bell', view: Events },
  { path: '/changes', name: 'Changes', icon: 'log', view: Changes },
  { path: '/health', name: 'Health', icon: 'pulse', view: Health },
];

function pageOf(route) {
  const vm = /^\/vm\/(\d{1,10})$/.exec(route);
  if (vm) return { name: `VM ${vm[1]}`, draw: () => html`<${VmPage} id=${Number(vm[1])} />` };
  const page = PAGES.find((one) => one.path === route) ?? PAGES[0];
  return { ...page, draw: () => html`<${page.view} />` };
}

function Nav() {
  const { path } = pageOf(store.route.value);
  return html`<nav class="nav" aria-label="Pages">${PAGES.map(
    (page) => html`<a key=${page.path}
    href=${`#${page.path}`}
    aria-current=${page.path === path ? 'page' : undefined}><${Icon}
      name=${page.icon} />${page.name}</a>`,
  )}</nav>`;
}

const THEMES = {
  auto: ['auto', 'As the system', 'light'],
  light: ['sun', 'Light', 'dark'],
  dark: ['moon', 'Dark', 'auto'],
};

function ThemeSwitch() {
  const [icon, word, next] = THEMES[store.theme.value] ?? THEMES.auto;
  return html`<button type="button" class="button quiet icon-only"
    onClick=${() => store.setTheme(next)}
    aria-label=${`Colours: ${word}. Switch to ${THEMES[next][1]}`} title=${`Colours: ${word}`}>
      <${Icon} name=${icon} /></button>`;
}

function Live() {
  const { state } = store.connection.value;
  const words = {
    live: ['ok', 'Live'],
    connecting: ['wait', 'Connecting'],
    lost: ['offline', 'No connection'],
  };
  const [icon, word] = words[state];
  return html`<span class="live ${state}" role="status"><${Icon} name=${icon} /><span>${word}</span>
    </span>`;
}

function Lost() {
  const [, tick] = useState(0);
  const { state, since, next } = store.connection.value;
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, []);
  if (state !== 'lost') return null;
  const wait = next === null ? 0 : Math.max(0, Math.ceil((next - Date.now()) / 1000));
  return html`<div class="banner" role="alert"><${Icon} name="offline" /><span>
    <strong>The connection to the agent is lost.</strong>${' '}What you see is as of
    ${' '}${new Date(since).toTimeString().slice(0, 8)}.</span>
    <span aria-hidden="true">${wait ? `Next attempt in ${wait} s` : 'Trying…'}</span>
    <button type="button" class="button" onClick=${connectNow}>Try now</button></div>`;
}

function Top() {
  const you = store.host.value?.you;
  return html`<header class="top"><a class="brand" href="#/" aria-label="vGPU, to the host page">
    <span class="brand-mark"><${Icon} name="gpu" /></span>vGPU</a>
    <${Nav} /><div class="top-right"><${Live} /><${ThemeSwitch} />
    ${
      you
        ? html`<span class="who"
      title="The token that you signed in with, and its role">${you.name} <small>${you.role}</small>
      </span>`
        : null
    }
    <button type="button" class="button quiet icon-only" aria-label="Sign out" title="Sign out"
      onClick=${() => store.signOut()}><${Icon} name="exit" /></button></div></header>`;
}

function Content() {
  const page = pageOf(store.route.value);
  if (!store.loaded.value) {
    const problem = store.loadError.value;
    return problem
      ? html`<h1 tabindex="-1">This host</h1><${Alert}
      title="The host’s state cannot be read"><p>${problem.message}</p>
      <p><button type="button" class="button" onClick=${store.load}>Try again</button></p><//>`
      : html`<p class="loading" role="status">Reading the state of the host…</p>`;
  }
  return page.draw();
}

// A new page begins at its heading, for the keyboard and for those who listen; a pool, at its own.
function useArrival() {
  const route = store.route.value;
  const ready = store.loaded.value;
  useEffect(() => {
    document.title = [pageOf(route).name, store.host.value?.hostname, 'vGPU']
      .filter(Boolean)
      .join(' · ');
    if (!ready) return;
    const pool = /^\/pool\/(.+)$/.exec(route);
    const heading = pool
      ? document.getElementById(`pool-h-${pool[1]}`)
      : document.querySelector('main h1');
    if (pool) heading?.scrollIntoView({ block: 'start' });
    else window.scrollTo(0, 0);
    heading?.focus({ preventScroll: true });
  }, [route, ready]);
}

function Panel() {
  useArrival();
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) store.loadHealth().catch(() => {});
    }, HEALTH_MS);
    return () => clearInterval(timer);
  }, []);
  return html`<a class="skip" href="#main"
    onClick=${(e) => {
      e.preventDefault();
      document.getElementById('main').focus();
    }}>To the content</a>
    <${Top} /><${Lost} /><main id="main" tabindex="-1"><${Content} /></main><${Toasts} />
      <${DialogHost} />`;
}

function App() {
  return store.token.value ? html`<${Panel} />` : html`<${Login} />`;
}

const readRoute = () => {
  store.route.value = location.hash.replace(/^#/, '') || '/';
};

effect(() => {
  const scheme = { light: 'light', dark: 'dark' }[store.theme.value];
  if (scheme) document.documentElement.dataset.theme = scheme;
  else delete document.documentElement.dataset.theme;
});
readRoute();
window.addEventListener('hashchange', readRoute);
whenUnauthorized((problem) => {
  if (store.token.value) store.signOut(problem);
});
setToken(store.token.value);
startStream();
render(html`<${App} />`, document.getElementById('app'));
