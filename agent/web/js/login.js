// SPDX-License-Identifier: Apache-2.0
// The page before a session: asks for the token, tries it, and says what is wrong with it.
import { html, useEffect, useRef, useState } from './lib.js';
import { get, setToken } from './api.js';
import { Icon } from './icons.js';
import { Alert } from './ui.js';
import * as store from './store.js';

function words(problem) {
  if (problem.status === 401)
    return 'This token is not known here. Check that you copied all of it.';
  return problem.message;
}

export function Login() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const input = useRef(null);
  const expired = store.loginError.value;
  useEffect(() => input.current.focus(), []);

  const submit = async (event) => {
    event.preventDefault();
    const value = input.current.value.trim();
    if (busy) return;
    if (value === '') {
      setProblem({ message: 'Paste your token first.' });
      return;
    }
    if (!/^[\x21-\x7e]+$/.test(value)) {
      setProblem({ message: 'A token has no spaces or other special characters.' });
      return;
    }
    setBusy(true);
    setToken(value);
    try {
      await get('/host');
      store.signIn(value);
    } catch (error) {
      setToken(null);
      setProblem(error);
      setBusy(false);
      input.current?.focus();
    }
  };
  return html`<main class="login"><form class="card login-card" onSubmit=${submit} novalidate>
    <p class="brand"><span class="brand-mark"><${Icon} name="gpu" /></span>vGPU</p>
    <h1>Sign in</h1>
    <p class="intro">The GPUs of this host, shared by its virtual machines.</p>
    ${
      expired && !problem
        ? html`<${Alert} title="You were signed out">
      <p>The token is no longer accepted. It may have been removed.</p><//>`
        : null
    }
    <div class="field ${problem ? 'has-error' : ''}"><label for="token">Access token</label>
      <input id="token" ref=${input} type="password" autocomplete="current-password"
        spellcheck=${false}
        aria-invalid=${problem ? 'true' : undefined} aria-describedby=${
          problem ? 'token-error token-help' : 'token-help'
        } />
      ${
        problem
          ? html`<p class="field-error" id="token-error" role="alert"><${Icon}
        name="error" />${words(problem)}</p>`
          : null
      }
      <p class="help" id="token-help">No token yet? On the host, as root:<br />
        <code>vgpu-agent token add NAME --role operate</code></p></div>
    <button type="submit" class="button primary wide" aria-disabled=${
      busy ? 'true' : undefined
    }>${busy ? 'Signing in…' : 'Sign in'}</button>
    <p class="help">The token is kept in this tab only, and forgotten when it closes.</p>
  </form></main>`;
}
