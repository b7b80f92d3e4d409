import { gatewayNow } from '../clock.js';
import { duration, fullTime, relative, sentence, toDate } from '../format.js';
import { html, useEffect, useLayoutEffect, useRef, useState } from '../lib.js';
import { linkTo } from '../router.js';
import { createStore, useStore } from '../store.js';
import { t } from '../texts.js';
import { Icon } from './icons.js';

/** @typedef {import('../lib.js').Children} Children */
/** @typedef {import('./icons.js').IconName} IconName */

/** The head of a page. Its title gets the focus when the page is opened, so that a screen reader begins there. */
export function PageHead(
  /** @type {{ title: string, lead?: Children, children?: Children }} */ { title, lead, children },
) {
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    document.title = `${title} · cvm-gateway`;
  }, [title]);
  useEffect(() => {
    heading.current?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }, []);
  return html`<header class="page-head">
    <div><h1 ref=${heading} tabindex="-1">${title}</h1>${lead === undefined ? null : html`<p class="lead">${lead}</p>`}</div>
    <div class="actions">${children}</div>
  </header>`;
}

/** @param {{ icon?: IconName, kind?: 'primary' | 'danger' | 'plain' | 'quiet', children?: Children, [attribute: string]: any }} props */
export const Button = ({ icon, kind = 'plain', children, ...rest }) =>
  html`<button type="button" ...${rest} class=${`button ${kind} ${rest.class ?? ''}`}>${icon === undefined ? null : html`<${Icon} name=${icon} />`}${children}</button>`;

/** A link that looks like a button. @param {{ icon?: IconName, kind?: string, href: string, children?: Children, [attribute: string]: any }} props */
export const LinkButton = ({ icon, kind = 'plain', children, ...rest }) =>
  html`<a ...${rest} class=${`button ${kind}`}>${icon === undefined ? null : html`<${Icon} name=${icon} />`}${children}</a>`;

/** What went wrong, and what to do. @param {{ error: any, retry?: () => void }} props */
export function ErrorBox({ error, retry }) {
  if (error === undefined) return null;
  const { code, message, cure } = error;
  return html`<div class="box failed" role="alert">
    <${Icon} name="failed" />
    <div>
      <p class="strong">${sentence(message ?? `${error}`)}</p>
      ${cure === undefined ? null : html`<p>${sentence(cure)}</p>`}
      ${
        code === undefined || /^\d*$/.test(code) || code === 'Unreachable'
          ? null
          : html`<p class="small"><a href=${linkTo('help', code)}>${t.errors.about(code)}</a></p>`
      }
    </div>
    ${retry === undefined ? null : html`<${Button} icon="refresh" onClick=${retry}>${t.actions.retry}<//>`}
  </div>`;
}

/** @param {{ kind?: 'info' | 'ok' | 'warning' | 'failed', children?: Children, [attribute: string]: any }} props */
export const Box = ({ kind = 'info', children, ...rest }) =>
  html`<div ...${rest} class=${`box ${kind}`}><${Icon} name=${kind === 'info' ? 'help' : kind} /><div>${children}</div></div>`;

/** @param {{ title: string, children?: Children }} props */
export const Empty = ({ title, children }) => html`<div class="empty"><p class="strong">${title}</p>${children}</div>`;

/** Said by a screen reader when it stays away for longer than a blink. @param {{ what?: string }} props */
export function Loading({ what = t.loading }) {
  return html`<p class="loading" role="status">${what}</p>`;
}

/** @type {Record<import('../types.d.ts').DeviceState, IconName>} */
const stateIcons = { enrolled: 'waiting', provisioning: 'refresh', registered: 'ok', blocked: 'refused' };

/** @param {{ state: import('../types.d.ts').DeviceState }} props */
export const StateBadge = ({ state }) =>
  html`<span class=${`badge state-${state}`}><${Icon} name=${stateIcons[state] ?? 'help'} />${t.states[state] ?? state}</span>`;

/** @param {{ outcome: string, children?: Children }} props */
export const Badge = ({ outcome, children }) => html`<span class=${`badge ${outcome}`}>${children}</span>`;

/** "3 minutes ago", with the exact time on the pointer and for programs. @param {{ at: import('../types.d.ts').Time | undefined, none?: string }} props */
export function Time({ at, none = '–' }) {
  const value = toDate(at);
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 20_000);
    return () => clearInterval(timer);
  }, []);
  if (value === undefined) return html`<span class="muted">${none}</span>`;
  return html`<time datetime=${value.toISOString()} title=${fullTime(at)}>${relative(at)}</time>`;
}

/** Counts on while it is looked at. @param {{ since: import('../types.d.ts').Time }} props */
export function Waiting({ since }) {
  const [now, setNow] = useState(gatewayNow());
  useEffect(() => {
    const timer = setInterval(() => setNow(gatewayNow()), 1000);
    return () => clearInterval(timer);
  }, []);
  return html`<span title=${fullTime(since)}>${duration(Math.max(0, Math.floor((now - (toDate(since)?.getTime() ?? now)) / 1000)))}</span>`;
}

let fieldCount = 0;

/** A field with its label, hint and fault, tied together for screen readers. */
export function Field(
  /** @type {{ label: string, hint?: Children, error?: string, value: string, onInput: (value: string) => void, type?: string, autofocus?: boolean, [attribute: string]: any }} */ {
    label,
    hint,
    error,
    value,
    onInput,
    type = 'text',
    autofocus = false,
    ...rest
  },
) {
  const id = useRef('');
  const input = useRef(/** @type {any} */ (null));
  // the attribute of HTML takes effect a moment late: what is typed at once would be lost
  useLayoutEffect(() => {
    if (autofocus) input.current.focus();
  }, []);
  if (id.current === '') id.current = `field-${++fieldCount}`;
  const hintId = `${id.current}-hint`;
  return html`<div class="field">
    <label for=${id.current}>${label}</label>
    <input
      ...${rest}
      ref=${input}
      id=${id.current}
      type=${type}
      value=${value}
      onInput=${(/** @type {any} */ event) => onInput(event.currentTarget.value)}
      aria-invalid=${error === undefined ? undefined : 'true'}
      aria-describedby=${hint === undefined && error === undefined ? undefined : hintId}
    />
    <p class=${error === undefined ? 'hint' : 'hint fault'} id=${hintId}>${error ?? hint}</p>
  </div>`;
}

/** A question in front of the page. Escape and the button close it, and the focus goes back to where it came from. */
export function Dialog(
  /** @type {{ title: string, onClose: () => void, children?: Children, footer?: Children, onSubmit?: () => void }} */ {
    title,
    onClose,
    onSubmit,
    children,
    footer,
  },
) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const opener = /** @type {HTMLElement | null} */ (document.activeElement);
    dialog.current?.showModal();
    return () => {
      if (opener?.isConnected) opener.focus();
    };
  }, []);
  return html`<dialog
    ref=${dialog}
    class="dialog"
    aria-labelledby="dialog-title"
    onCancel=${(/** @type {Event} */ event) => {
      event.preventDefault();
      onClose();
    }}
  >
    <form
      onSubmit=${(/** @type {Event} */ event) => {
        event.preventDefault();
        onSubmit?.();
      }}
    >
      <h2 id="dialog-title">${title}</h2>
      <div class="dialog-body">${children}</div>
      <div class="actions end">${footer}</div>
    </form>
  </dialog>`;
}

const notice = createStore(/** @type {{ text: string, kind: 'ok' | 'warning' } | undefined} */ (undefined));
let noticeTimer = 0;

/**
 * Says what was done, for a few seconds; screen readers read it out.
 * @param {string} text
 * @param {'ok' | 'warning'} [kind]
 */
export function say(text, kind = 'ok') {
  notice.set({ text, kind });
  clearTimeout(noticeTimer);
  noticeTimer = window.setTimeout(() => notice.set(undefined), 8000);
}

export function Notices() {
  const shown = useStore(notice);
  return html`<div class="notices" role="status" aria-live="polite">
    ${
      shown === undefined
        ? null
        : html`<div class=${`notice ${shown.kind}`}>
          <${Icon} name=${shown.kind} /><span>${shown.text}</span>
          <button type="button" class="icon-button" aria-label=${t.actions.close} onClick=${() => notice.set(undefined)}><${Icon} name="close" /></button>
        </div>`
    }
  </div>`;
}

/**
 * Hands a text to the browser as a file.
 * @param {string} name
 * @param {string} text
 */
export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * @param {string[]} header
 * @param {(string | number | undefined)[][]} rows
 */
export const toCsv = (header, rows) => [header, ...rows].map((row) => row.map(csvCell).join(',')).join('\r\n');

/**
 * A cell that a spreadsheet would take for a formula is kept a text (https://owasp.org/www-community/attacks/CSV_Injection), and so is one in
 * the wide characters that some take for these.
 * @param {string | number | undefined} value
 */
function csvCell(value = '') {
  const text = `${value}`;
  const harmless = /^\s*[=+\-@\t\r\n＝＋－＠]/.test(text) && typeof value !== 'number' ? `'${text}` : text;
  return /[",;\t\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
