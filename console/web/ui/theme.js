import { createStore } from '../store.js';

/** @typedef {'system' | 'light' | 'dark'} Theme */

const { dataset } = document.documentElement;
const system = matchMedia('(prefers-color-scheme: dark)');
const kept = dataset.chosenTheme;
/** The theme that the person has chosen. The one that is shown is `data-theme` of the page. */
export const theme = createStore(/** @type {Theme} */ (kept === 'light' || kept === 'dark' ? kept : 'system'));

/** Tells charts and other drawings that the colours have changed. */
export const themeChanges = createStore(0);

/** system, light, dark, system, … */
export function nextTheme() {
  /** @type {Record<Theme, Theme>} */
  const following = { system: 'light', light: 'dark', dark: 'system' };
  const next = following[theme.get()];
  try {
    localStorage.setItem('theme', next);
  } catch {
    // storage may be forbidden: the choice then holds until the page is closed
  }
  theme.set(next);
  show();
}

function show() {
  const chosen = theme.get();
  dataset.theme = chosen === 'system' ? (system.matches ? 'dark' : 'light') : chosen;
  themeChanges.set(themeChanges.get() + 1);
}

system.addEventListener('change', show);
