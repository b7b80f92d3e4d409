import { remove, session } from '../api.js';
import { forgetKept } from '../kept.js';
import { html, useEffect, useRef, useState } from '../lib.js';
import { liveState } from '../live.js';
import { linkTo, route } from '../router.js';
import { useStore } from '../store.js';
import { t } from '../texts.js';
import { Icon } from './icons.js';
import { keptLabels, putLabelsAway } from './labels-kept.js';
import { Button, Dialog } from './parts.js';
import { nextTheme, theme } from './theme.js';

/** @typedef {import('./icons.js').IconName} IconName */

/** @type {{ page: string, icon: IconName, covers: string[], label: string }[]} */
const entries = [
  { page: 'now', icon: 'now', covers: ['now'], label: t.nav.now },
  {
    page: 'devices',
    icon: 'devices',
    covers: ['devices', 'device', 'enrol', 'import', 'labels'],
    label: t.nav.devices,
  },
  { page: 'silent', icon: 'silent', covers: ['silent'], label: t.nav.silent },
  { page: 'line', icon: 'line', covers: ['line'], label: t.nav.line },
  { page: 'audit', icon: 'audit', covers: ['audit'], label: t.nav.audit },
  { page: 'settings', icon: 'settings', covers: ['settings'], label: t.nav.settings },
  { page: 'help', icon: 'help', covers: ['help'], label: t.nav.help },
];
/** what a thumb reaches on a phone; the rest is behind "More" */
const atHand = 4;

/** What stands around every page. @param {{ person: import('../types.d.ts').Session, children?: import('../lib.js').Children }} props */
export function Frame({ person, children }) {
  const { page } = useStore(route);
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  return html`
    <button type="button" class="skip" onClick=${() => main.current?.focus()}>${t.skip}</button>
    <div class="frame">
      <header class="top">
        <a class="brand" href=${linkTo('now')}><${Mark} />cvm-gateway</a>
        ${person.site === undefined ? null : html`<span class="site">${person.site}</span>`}
        <${Live} />
      </header>
      <nav class="nav" aria-label=${t.nav.label}>
        <ul>${entries.map((entry, place) => html`<${Entry} key=${entry.page} entry=${entry} isHere=${entry.covers.includes(page)} isSpare=${place >= atHand} />`)}</ul>
        <${More} page=${page} person=${person} />
        <div class="nav-foot"><${Account} person=${person} /></div>
      </nav>
      <main class="main" id="main" tabindex="-1" ref=${main}>${children}</main>
    </div>`;
}

const Mark = () =>
  html`<svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><path d="M9 7h14v11a7 7 0 0 1-14 0z" /><path d="m12.6 15 2.6 2.6 4.4-5" /></svg>`;

/** @param {{ entry: typeof entries[number], isHere: boolean, isSpare: boolean }} props */
const Entry = ({ entry, isHere, isSpare }) =>
  html`<li class=${isSpare ? 'spare' : ''}>
    <a href=${linkTo(entry.page)} aria-current=${isHere ? 'page' : undefined}><${Icon} name=${entry.icon} /><span>${entry.label}</span></a>
  </li>`;

/** On a phone: the pages that have no place of their own in the bar. @param {{ page: string, person: import('../types.d.ts').Session }} props */
function More({ page, person }) {
  const [isOpen, setOpen] = useState(false);
  const button = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => setOpen(false), [page]);
  const spare = entries.slice(atHand);
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'Escape' || !isOpen) return;
    setOpen(false);
    button.current?.focus();
  };
  return html`<div class="more" onKeyDown=${onKey}>
    <button
      type="button"
      ref=${button}
      aria-expanded=${isOpen ? 'true' : 'false'}
      class=${spare.some((entry) => entry.covers.includes(page)) ? 'here' : ''}
      onClick=${() => setOpen(!isOpen)}
    ><${Icon} name="more" /><span>${t.nav.more}</span></button>
    ${
      isOpen
        ? html`<div class="more-sheet">
          <ul>${spare.map((entry) => html`<${Entry} key=${entry.page} entry=${entry} isHere=${entry.covers.includes(page)} isSpare=${false} />`)}</ul>
          <${Account} person=${person} />
        </div>`
        : null
    }
  </div>`;
}

/** @param {{ person: import('../types.d.ts').Session }} props */
function Account({ person }) {
  const chosen = useStore(theme);
  const [asked, setAsked] = useState(false);
  const leave = () => {
    putLabelsAway();
    forgetKept();
    remove('/session').finally(() => session.set(undefined));
  };
  const askToLeave = () => (keptLabels.get().length > 0 ? setAsked(true) : leave());
  return html`<div class="account">
    <p><span class="strong">${person.person}</span><br /><span class="muted">${t.roles[person.role] ?? person.role}</span></p>
    <div class="actions">
      <button type="button" class="icon-button" onClick=${nextTheme} title=${t.theme[chosen]} aria-label=${t.theme[chosen]}><${Icon} name="theme" /></button>
      ${person.by === 'proxy' ? null : html`<button type="button" class="icon-button" onClick=${askToLeave} title=${t.signIn.out} aria-label=${t.signIn.out}><${Icon} name="out" /></button>`}
    </div>
    ${
      asked
        ? html`<${Dialog}
          title=${t.signIn.outWithLabels}
          onClose=${() => setAsked(false)}
          onSubmit=${leave}
          footer=${html`<${Button} onClick=${() => setAsked(false)}>${t.actions.cancel}<//><${Button} type="submit" kind="danger">${t.signIn.out}<//>`}
        ><p>${t.labels.putAwayMeans}</p><//>`
        : null
    }
  </div>`;
}

function Live() {
  const state = useStore(liveState);
  return html`<span class=${`live ${state}`} role="status"><span class="dot" aria-hidden="true"></span>${t.live[state]}</span>`;
}
