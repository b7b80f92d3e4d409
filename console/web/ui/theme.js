import { createStore } from '../store.js';

/** @typedef {'system' | 'light' | 'dark'} Theme */

const kept = document.documentElement.dataset.theme;
export const theme = createStore(/** @type {Theme} */ (kept === 'light' || kept === 'dark' ? kept : 'system'));

/** Tells charts and other drawings that the colours have changed. */
export const themeChanges = createStore(0);

/** system, light, dark, system, … */
export function nextTheme() {
  /** @type {Record<Theme, Theme>} */
  const following = { system: 'light', light: 'dark', dark: 'system' };
  const next = following[theme.get()];
  if (next === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem('theme', next);
  } catch {
    // storage may be forbidden: the choice then holds until the page is closed
  }
  theme.set(next);
  themeChanges.set(themeChanges.get() + 1);
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => themeChanges.set(themeChanges.get() + 1));
