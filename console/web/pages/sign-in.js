import { post, session } from '../api.js';
import { html, useEffect, useState } from '../lib.js';
import { t } from '../texts.js';
import { Button, ErrorBox, Field } from '../ui/parts.js';

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
      (found) => session.set(found),
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
      <${Field} label=${t.signIn.password} type="password" autocomplete="current-password" required autofocus value=${password} onInput=${setPassword} hint=${t.signIn.hint} />
      <${ErrorBox} error=${error} />
      <${Button} kind="primary wide" type="submit" disabled=${busy || password === ''}>${busy ? t.signIn.busy : t.signIn.enter}<//>
    </form>
  </main>`;
}
