import { html } from '../lib.js';

/** Strokes in a square of 24, drawn for this console. */
const paths = {
  now: 'M4 15a8 8 0 1 1 16 0M12 15l4-5M3 19h18',
  devices: 'M7 7h10v10H7zM10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4',
  silent:
    'M4 4l16 16M8.5 8.6A5 5 0 0 0 7 12M5 6a9 9 0 0 0-2 6M12 12v9M15.6 8.6A5 5 0 0 1 17 12M18.4 5.6A9 9 0 0 1 21 12',
  line: 'M4 6h3M4 12h3M4 18h3M11 6h9M11 12h9M11 18h6',
  audit: 'M6 3h9l4 4v14H6zM15 3v4h4M9.5 14l2 2 4-4.5',
  settings: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4',
  help: 'M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18zM9.6 9.3a2.5 2.5 0 1 1 3.6 2.3c-.8.4-1.2.9-1.2 1.9M12 16.6v.2',
  ok: 'M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18zM8 12.3l2.7 2.7L16 9.4',
  warning: 'M12 4 2.8 20h18.4zM12 10v4.5M12 17v.2',
  failed: 'M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18zM9 9l6 6M15 9l-6 6',
  refused: 'M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18zM5.8 5.8l12.4 12.4',
  waiting: 'M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18zM12 7v5.2l3.4 2',
  more: 'M5 12h.01M12 12h.01M19 12h.01',
  theme: 'M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18zM12 3v18M12 7h6M12 12h9M12 17h6',
  out: 'M14 4H5v16h9M10 12h11M17.5 8.5 21 12l-3.5 3.5',
  print: 'M7 8V3h10v5M7 17H4V8h16v9h-3M7 14h10v7H7z',
  search: 'M10.5 17a6.5 6.5 0 1 1 0-13 6.5 6.5 0 0 1 0 13zM15.5 15.5 21 21',
  refresh: 'M20 11a8 8 0 0 0-14.3-4L4 9M4 4v5h5M4 13a8 8 0 0 0 14.3 4L20 15M20 20v-5h-5',
  add: 'M12 5v14M5 12h14',
  file: 'M6 3h9l4 4v14H6zM15 3v4h4M9 13h7M9 17h7',
  front: 'M12 19V8M7 12l5-5 5 5M6 4h12',
  back: 'M15 5l-7 7 7 7',
  next: 'M9 5l7 7-7 7',
  close: 'M6 6l12 12M18 6 6 18',
  download: 'M12 4v11M7.5 11 12 15.5 16.5 11M4 20h16',
};

/** @typedef {keyof typeof paths} IconName */

/** A picture beside a word: screen readers read the word alone. @param {{ name: IconName, class?: string }} props */
export const Icon = ({ name, class: className = '' }) =>
  html`<svg class=${`icon ${className}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${paths[name]} /></svg>`;
