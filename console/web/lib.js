// Preact and htm as the pages use them: `html` makes elements, and a text that is put into it stays a text.
import htm from './vendor/htm.js';
import { h } from './vendor/preact.js';

/** @typedef {import('./vendor/preact.js').ComponentChildren} Children */
/** @type {(strings: TemplateStringsArray, ...values: any[]) => import('./vendor/preact.js').VNode} */
export const html = /** @type {any} */ (htm).bind(h);

export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from './vendor/hooks.js';
export { render } from './vendor/preact.js';
