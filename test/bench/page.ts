import { htmlDocument } from '../../gateway-sim/document.ts';
import { escapeHtml, plotSvg } from '../../gateway-sim/plot.ts';
import type { Figure } from '../chaos/figures.ts';
import type { Drawing } from './row.ts';

/** The figures with their goals, and the plots, as one HTML file. @param machine where they were measured */
export function renderPage(figures: readonly Figure[], drawings: readonly Drawing[], machine: string): string {
  const missed = figures.filter(({ holds }) => !holds).length;
  const rows = figures.map(({ name, value, unit = '', goal, holds }) =>
    [name, `${value} ${unit}`, goal, holds ? 'holds' : 'missed'].map((text) => `<td>${escapeHtml(text)}</td>`).join(''),
  );
  return htmlDocument({
    headline: `${figures.length - missed} of ${figures.length} goals hold`,
    about: escapeHtml(machine),
    table: `<table><tr><th>figure</th><th>seen</th><th>goal</th><th></th></tr>${rows.map((row) => `<tr>${row}</tr>`).join('')}</table>`,
    sections: drawings.map(({ title, says, plot }) => ({ title, says, body: plotSvg(plot, title) })),
  });
}
