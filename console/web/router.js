// Which page is shown stands behind the # of the address, so the server has one page to serve and every view can be kept as a bookmark.
import { createStore } from './store.js';

/** @typedef {{ page: string, rest: string[], query: URLSearchParams }} Route */

export const route = createStore(read());

/** The address of the page that is shown: that of the browser is ahead of it for a moment when a link was followed. */
let shown = location.hash;

function show() {
  shown = location.hash;
  route.set(read());
}

window.addEventListener('hashchange', show);

/** @returns {Route} */
function read() {
  const [path = '', search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [page = '', ...rest] = path.split('/').map(decode);
  return { page: page === '' ? 'now' : page, rest, query: new URLSearchParams(search) };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * The address of a page, as a link has it.
 * @param {string} page
 * @param {string} [rest]
 * @param {Record<string, string | undefined>} [query]
 */
export function linkTo(page, rest, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== '') search.set(name, value);
  return `#/${page}${rest === undefined ? '' : `/${encodeURIComponent(rest)}`}${search.size === 0 ? '' : `?${search}`}`;
}

/** @param {string} link as `linkTo` makes it */
export function goTo(link) {
  location.hash = link;
}

/**
 * Changes the address of the page that is shown, without another entry in the history: for filters, which change with each letter. Who has just followed
 * a link goes on to where it leads.
 * @param {string} link
 */
export function replaceWith(link) {
  if (link === location.hash || location.hash !== shown) return;
  history.replaceState(null, '', link);
  show();
}
