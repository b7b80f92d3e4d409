import { ended, post, session } from '../api.js';
import { forgetKept } from '../kept.js';
import { html, useEffect, useState } from '../lib.js';
import { t } from '../texts.js';
import { putLabelsAway } from '../ui/labels-kept.js';
import { Box, Button, ErrorBox, Field } from '../ui/parts.js';

export function SignInPage() {
  const [password, setPassword] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (undefined));
  useEffect(() => {
    document.title = `${t.signIn.title} · cvm-gateway`;
  }, []);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    post('/session', { password }).then(
      (found) => {
        // tokens that were shown to an operator are not for the next person at this screen
        if (found.person !== ended.person) {
          forgetKept();
          putLabelsAway();
        }
        ended.person = undefined;
        session.set(found);
      },
      (failure) => {
        setBusy(false);
        setError(failure);
      },
    );
  };
  return html`<main class="sign-in">
    <form class="panel" onSubmit=${submit}>
      <p class="brand">cvm-gateway</p>
      <h1>${t.signIn.title}</h1>
      <p class="muted">${t.signIn.lead}</p>
      ${ended.person === undefined ? null : html`<${Box} kind="warning"><p class="strong">${t.signIn.ended}</p><p>${t.signIn.endedCure}</p><//>`}
      <${Field} label=${t.signIn.password} type="password" autocomplete="current-password" required autofocus value=${password} onInput=${setPassword} hint=${t.signIn.hint} />
      <${ErrorBox} error=${error} />
      <${Button} kind="primary wide" type="submit" disabled=${busy || password === ''}>${busy ? t.signIn.busy : t.signIn.enter}<//>
    </form>
  </main>`;
}
