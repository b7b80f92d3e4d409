import type { Verdict } from '../operator/explanation.ts';
import { oneLine } from './table.ts';
import { cutWidth, textWidth } from './text-width.ts';

/** Cause and cure, as `devices show` has them, too. */
export function verdictLines({ cause, cure }: Verdict, columns: number): string[] {
  return [
    ...wrap(`why   ${cause}`, columns, '      '),
    ...(cure === '' ? [] : wrap(`do    ${cure}`, columns, '      ')),
  ];
}

/**
 * Breaks a text at its spaces. @param columns of a line at most; a longer word stays whole. Control characters become spaces: rows of
 * other tools, and errors of Redis and AWS, may have some.
 */
export function wrap(text: string, columns: number, indent: string): string[] {
  const lines: string[] = [];
  let rest = oneLine(text);
  while (textWidth(rest) > columns && columns > indent.length + 20) {
    const at = rest.lastIndexOf(' ', cutWidth(rest, columns).length);
    const end = at > indent.length + 10 ? at : rest.indexOf(' ', columns);
    if (end < 0) break;
    lines.push(rest.slice(0, end));
    rest = `${indent}${rest.slice(end + 1)}`;
  }
  return [...lines, rest];
}
