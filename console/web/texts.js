// A language is one file in texts/, and one line here.
import { en } from './texts/en.js';

/** @typedef {typeof en} Texts */

/** @type {Record<string, Texts>} */
const languages = { en };

export const language = navigator.languages.map((name) => name.slice(0, 2)).find((name) => name in languages) ?? 'en';

/** @type {Texts} */
export const t = languages[language] ?? en;

document.documentElement.lang = language;
