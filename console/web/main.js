import { get, mayPass, retryPause, session } from './api.js';
import { html, render, useEffect, useState } from './lib.js';
import { startLive, stopLive } from './live.js';
import { NowPage } from './pages/now.js';
import { SignInPage } from './pages/sign-in.js';
import { route } from './router.js';
import { useStore } from './store.js';
import { t } from './texts.js';
import { Frame } from './ui/frame.js';
import { LabelWatch } from './ui/labels-kept.js';
import { ErrorBox, Loading, Notices } from './ui/parts.js';

/** Pages that are loaded when they are first opened. @type {Record<string, () => Promise<any>>} */
const pages = {
  devices: () => import('./pages/devices.js').then((module) => module.DevicesPage),
  device: () => import('./pages/device.js').then((module) => module.DevicePage),
  enrol: () => import('./pages/enrol.js').then((module) => module.EnrolPage),
  import: () => import('./pages/import.js').then((module) => module.ImportPage),
  labels: () => import('./pages/labels.js').then((module) => module.LabelsPage),
  silent: () => import('./pages/silent.js').then((module) => module.SilentPage),
  line: () => import('./pages/line.js').then((module) => module.LinePage),
  audit: () => import('./pages/audit.js').then((module) => module.AuditPage),
  settings: () => import('./pages/settings.js').then((module) => module.SettingsPage),
  help: () => import('./pages/help.js').then((module) => module.HelpPage),
};

/** @type {Map<string, any>} */
const loaded = new Map([['now', NowPage]]);

function App() {
  const person = useStore(session);
  const [asked, setAsked] = useState(false);
  const [failure, setFailure] = useState(/** @type {any} */ (undefined));
  const ask = () => {
    get('/session').then(
      (found) => {
        setFailure(undefined);
        session.set(found);
        setAsked(true);
      },
      (error) => {
        const isStranger = error.status === 401 || error.status === 403;
        setFailure(isStranger ? undefined : error);
        if (isStranger) setAsked(true);
      },
    );
  };
  useEffect(ask, []);
  useEffect(() => {
    if (failure === undefined || !mayPass(failure)) return;
    const retry = setTimeout(ask, retryPause());
    return () => clearTimeout(retry);
  }, [failure]);
  useEffect(() => {
    if (person === undefined) return;
    startLive();
    return stopLive;
  }, [person]);
  if (failure !== undefined) return html`<main class="alone"><${ErrorBox} error=${failure} retry=${ask} /></main>`;
  if (!asked)
    return html`<div class="first-paint" aria-busy="true"><span class="brand">cvm-gateway</span><span class="muted">${t.loading}</span></div>`;
  if (person === undefined) return html`<${SignInPage} /><${Notices} />`;
  return html`<${Frame} person=${person}><${Page} person=${person} /><//><${LabelWatch} /><${Notices} />`;
}

/** @param {{ person: import('./types.d.ts').Session }} props */
function Page({ person }) {
  const { page, rest, query } = useStore(route);
  const name = page in pages || page === 'now' ? page : 'now';
  const [, setTurn] = useState(0);
  const [failure, setFailure] = useState(/** @type {any} */ (undefined));
  const Found = loaded.get(name);
  useEffect(() => {
    setFailure(undefined);
    if (loaded.has(name)) return;
    const load = pages[name] ?? (() => Promise.reject());
    // a connection that breaks for a moment, as in a phone's Wi-Fi, is no new version
    const again = () => new Promise((resolve) => setTimeout(resolve, 1000)).then(load);
    load()
      .catch(again)
      .then(
        (Component) => {
          loaded.set(name, Component);
          setTurn((turn) => turn + 1);
        },
        () => setFailure({ message: t.errors.unreachable, cure: t.errors.newVersionCure }),
      );
  }, [name]);
  if (failure !== undefined) return html`<${ErrorBox} error=${failure} retry=${() => location.reload()} />`;
  if (Found === undefined) return html`<${Loading} />`;
  return html`<${Found} key=${`${name}/${rest[0] ?? ''}`} rest=${rest} query=${query} person=${person} canAct=${person.role === 'operator'} />`;
}

const place = document.getElementById('app');
if (place !== null) {
  place.textContent = '';
  render(html`<${App} />`, place);
}
