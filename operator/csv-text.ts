import type { Readable } from 'node:stream';

/** A line of a text file, without its line end. `number`: from 1. */
export type TextLine = { readonly number: number; readonly text: string };

/** A longer line is no list of devices: the file is something else, and must not be held in memory. */
const maxLineLength = 65_536;

/**
 * Reads the lines of a text file of any system (LF, CRLF, CR) in UTF-8 or UTF-16, with or without a byte order mark, and
 * holds one chunk of it at a time.
 * @throws for a file that is no text, with what it is, as far as its first bytes say
 */
export async function* linesOf(input: Readable): AsyncGenerator<TextLine> {
  let [number, rest] = [0, ''];
  const line = (text: string): TextLine => {
    number++;
    if (text.includes('\0')) throw new Error(`line ${number} has a NUL byte: this is no text file`);
    return { number, text };
  };
  for await (const text of textOf(input)) {
    rest += text;
    // the second half of a CRLF may be in the next chunk
    const complete = rest.split(/\r\n|\n|\r(?!$)/);
    rest = complete.pop() ?? '';
    if (rest.length > maxLineLength)
      throw new Error(
        `line ${number + complete.length + 1} is longer than ${maxLineLength} characters: this is no CSV file`,
      );
    for (const each of complete) yield line(each);
  }
  if (rest !== '') yield line(rest.replace(/\r$/, ''));
}

async function* textOf(input: Readable): AsyncGenerator<string> {
  let decoder: InstanceType<typeof TextDecoder> | undefined;
  for await (const chunk of withFirstBytes(input, 8)) {
    decoder ??= new TextDecoder(encodingOf(chunk));
    yield decoder.decode(chunk, { stream: true });
  }
  if (decoder !== undefined) yield decoder.decode();
}

/** The same bytes in chunks, of which the first has at least `size`, if there are as many. */
async function* withFirstBytes(input: Readable, size: number): AsyncGenerator<Buffer> {
  let first = Buffer.alloc(0);
  for await (const chunk of input) {
    const bytes = Buffer.from(chunk as Buffer | string);
    if (first.length >= size) {
      yield bytes;
      continue;
    }
    first = Buffer.concat([first, bytes]);
    if (first.length >= size) yield first;
  }
  if (first.length > 0 && first.length < size) yield first;
}

const signatures: readonly (readonly [bytes: readonly number[], what: string])[] = [
  [[0x50, 0x4b, 0x03, 0x04], 'a spreadsheet or another ZIP file: open it, and save it as CSV'],
  [[0xd0, 0xcf, 0x11, 0xe0], 'an Excel file: open it, and save it as CSV'],
  [[0x25, 0x50, 0x44, 0x46], 'a PDF file'],
  [[0x1f, 0x8b], 'a compressed file: unpack it first'],
];

/** @throws when the file is no text */
function encodingOf(bytes: Buffer): string {
  const begins = (...wanted: readonly number[]) => wanted.every((byte, index) => bytes[index] === byte);
  const other = signatures.find(([signature]) => begins(...signature));
  if (other !== undefined) throw new Error(`the file is no CSV file, but ${other[1]}`);
  // without a mark, the halves of ASCII characters tell
  if (begins(0xff, 0xfe) || (bytes[0] !== 0 && bytes[1] === 0 && bytes[3] === 0)) return 'utf-16le';
  if (begins(0xfe, 0xff) || (bytes[0] === 0 && bytes[1] !== 0 && bytes[2] === 0)) return 'utf-16be';
  return 'utf-8';
}

/** The fields of one line, or why it has none. */
export type Fields = { readonly fields: readonly string[] } | { readonly fault: string };

/**
 * Splits a line at its delimiter (RFC 4180, but a field ends on its line). Spaces around a field are no part of it.
 * A quote that is not closed is told apart by `open`: it would take in the lines after it.
 */
export function fieldsOf(line: string, delimiter: string): Fields & { readonly open?: boolean } {
  const fields: string[] = [];
  for (let at = 0; ; at++) {
    const field = fieldAt(line, at, delimiter);
    if ('fault' in field) return field;
    fields.push(field.text);
    at = field.end;
    if (at >= line.length) return { fields };
  }
}

type Field = { readonly text: string; readonly end: number } | { readonly fault: string; readonly open?: boolean };

function fieldAt(line: string, start: number, delimiter: string): Field {
  const formula = /^ *="([^"]*)" */.exec(line.slice(start));
  // a formula that is only a text: so spreadsheets are made to keep the zeros of 0042
  if (formula !== null && (line[start + formula[0].length] ?? delimiter) === delimiter)
    return { text: trimmed(formula[1] ?? ''), end: start + formula[0].length };
  let begin = start;
  while (isBlank(line[begin]) && line[begin] !== delimiter) begin++;
  if (line[begin] === '"') return quotedAt(line, begin, delimiter);
  const next = line.indexOf(delimiter, start);
  const end = next === -1 ? line.length : next;
  const text = trimmed(line.slice(start, end));
  return text.includes('"')
    ? {
        fault: `has a quote inside a field, at position ${line.indexOf('"', start) + 1}`,
      }
    : { text, end };
}

function quotedAt(line: string, begin: number, delimiter: string): Field {
  let close = begin + 1;
  for (; close < line.length; close++) {
    if (line[close] !== '"') continue;
    if (line[close + 1] !== '"') break;
    close++;
  }
  if (close >= line.length)
    return { fault: `has a quote at position ${begin + 1} that is not closed on this line`, open: true };
  let end = close + 1;
  while (isBlank(line[end]) && line[end] !== delimiter) end++;
  if (end < line.length && line[end] !== delimiter)
    return { fault: `has a character after a closing quote, at position ${end + 1}` };
  const text = trimmed(line.slice(begin + 1, close).replaceAll('""', '"'));
  return { text: /^="([^"]*)"$/.exec(text)?.[1] ?? text, end };
}

const isBlank = (character: string | undefined) => character === ' ' || character === '\t';

/** Without the spaces and tabs around it. `trim` would also remove characters that a reader of the file does not see. */
const trimmed = (text: string) => text.replace(/^[ \t]+|[ \t]+$/g, '');
