/** A plot as SVG: lines, points and bars over two axes. Colours come from the page's CSS, by the names of classes. */
export type Plot = {
  readonly x: Axis;
  readonly y: Axis;
  readonly lines?: readonly { readonly name: string; readonly style: string; readonly points: readonly Point[] }[];
  readonly points?: readonly Point[];
  readonly bars?: readonly { readonly from: number; readonly to: number; readonly height: number }[];
};

export type Axis = {
  readonly label: string;
  readonly from?: number;
  readonly to: number;
  /** an axis of powers of ten */
  readonly log?: boolean;
  readonly format?: (value: number) => string;
};

export type Point = readonly [x: number, y: number];

const [width, height] = [720, 300];
const inner = { left: 64, right: 704, top: 34, bottom: 252 };

export function plotSvg({ x, y, lines = [], points = [], bars = [] }: Plot, title: string): string {
  const [px, py] = [scale(x, inner.left, inner.right), scale(y, inner.bottom, inner.top)];
  const path = (all: readonly Point[]) =>
    all.map(([a, b], index) => `${index === 0 ? 'M' : 'L'}${px(a)} ${py(b)}`).join('');
  return [
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(title)}">`,
    ...ticks(y).map(
      (value) =>
        `<path class="grid" d="M${inner.left} ${py(value)}H${inner.right}"/><text x="${inner.left - 8}" y="${py(value) + 4}" text-anchor="end">${label(y, value)}</text>`,
    ),
    ...ticks(x).map(
      (value) => `<text x="${px(value)}" y="${inner.bottom + 18}" text-anchor="middle">${label(x, value)}</text>`,
    ),
    `<path class="axis" d="M${inner.left} ${inner.top}V${inner.bottom}H${inner.right}"/>`,
    `<text x="${inner.right}" y="${height - 10}" text-anchor="end">${escapeHtml(x.label)}</text>`,
    `<text x="${inner.left - 52}" y="16">${escapeHtml(y.label)}</text>`,
    ...bars.map(({ from, to, height: high }) => {
      const [left, top] = [px(from), py(high)];
      return `<rect class="bar" x="${left}" y="${top}" width="${Math.max(1, px(to) - left - 1).toFixed(1)}" height="${(inner.bottom - top).toFixed(1)}"/>`;
    }),
    ...lines.map(({ style, points: all }) => `<path class="line ${style}" d="${path(all)}"/>`),
    ...points.map(([a, b]) => `<circle class="dot" cx="${px(a)}" cy="${py(b)}" r="3"/>`),
    '</svg>',
    legend(lines),
  ].join('');
}

function legend(lines: NonNullable<Plot['lines']>): string {
  if (lines.length === 0) return '';
  const entries = lines.map(({ name, style }) => `<li>${sampleOf(style)}${escapeHtml(name)}</li>`);
  return `<ul class="legend">${entries.join('')}</ul>`;
}

/** A line as in the plot, with its dashes. A background of CSS would be left out of a printed page. */
const sampleOf = (style: string): string =>
  `<svg class="sample" viewBox="0 0 36 6" aria-hidden="true"><path class="line ${style}" d="M0 3H36"/></svg>`;

function scale({ from = 0, to, log }: Axis, start: number, end: number): (value: number) => number {
  const by = log ? Math.log10 : (value: number) => value;
  const span = by(to) - by(from) || 1;
  return (value) => Number((start + ((by(value) - by(from)) / span) * (end - start)).toFixed(1));
}

/** Four to nine round numbers along an axis; on one of powers of ten 1, 2 and 5 of each power. */
export function ticks({ from = 0, to, log }: Axis): number[] {
  if (log) {
    const all: number[] = [];
    for (let power = Math.floor(Math.log10(from)); power <= Math.log10(to); power++)
      for (const digit of [1, 2, 5]) all.push(digit * 10 ** power);
    return all.filter((value) => value >= from && value <= to);
  }
  if (!(to > from)) return [from];
  const rough = (to - from) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((digit) => digit * power >= rough) ?? 10) * power;
  const count = Math.floor((to - from) / step + 1e-9);
  return Array.from({ length: count + 1 }, (_, index) => from + index * step);
}

const label = ({ format = plain }: Axis, value: number): string => escapeHtml(format(value));

const plain = (value: number): string => Number(value.toPrecision(6)).toLocaleString('en');

/** Text for an element or an attribute of HTML. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
