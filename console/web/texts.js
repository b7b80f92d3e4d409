// A language is one file in texts/, and one line here.
import { en } from './texts/en.js';

/** @typedef {typeof en} Texts */

/** @type {Record<string, Texts>} */
const languages = { en };

export const language = navigator.languages.map((name) => name.slice(0, 2)).find((name) => name in languages) ?? 'en';

/**
 * Texts are looked up by words that others chose: of `constructor` or `__proto__` there is none.
 * @template T
 * @param {T} texts
 * @returns {T}
 */
function withoutPrototype(texts) {
  if (typeof texts !== 'object' || texts === null || Array.isArray(texts)) return texts;
  for (const value of Object.values(texts)) withoutPrototype(value);
  return Object.setPrototypeOf(texts, null);
}

/** @type {Texts} */
export const t = withoutPrototype(languages[language] ?? en);

document.documentElement.lang = language;
