import { createInterface, type Interface } from 'node:readline';
import { Readable } from 'node:stream';

/** What most texts are made of: one column for each character. */
const plain = /^[\x20-\x7e]*$/;

let reader: Interface | undefined;

/**
 * How many columns of a terminal a text takes: 日 takes two, and an accent that combines with the letter before it none. Node.js knows it by the
 * tables of Unicode that it has for its own line editor.
 * @see https://nodejs.org/api/readline.html#rlgetcursorpos
 */
export function textWidth(text: string): number {
  if (plain.test(text)) return text.length;
  reader ??= createInterface({ input: new Readable({ read() {} }), terminal: false });
  reader.setPrompt(text);
  return reader.getCursorPos().cols;
}

/** Filled up with spaces to a number of columns. */
export const padWidth = (text: string, columns: number): string =>
  text + ' '.repeat(Math.max(0, columns - textWidth(text)));

/** The longest beginning of a text that takes no more columns, without half a character. */
export function cutWidth(text: string, columns: number): string {
  if (plain.test(text)) return text.slice(0, columns);
  let [end, width] = [0, 0];
  for (const { segment, index } of new Intl.Segmenter().segment(text)) {
    width += textWidth(segment);
    if (width > columns) break;
    end = index + segment.length;
  }
  return text.slice(0, end);
}
