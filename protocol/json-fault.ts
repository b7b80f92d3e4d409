/** Thrown while a text is read; never leaves this file. */
class Fault extends Error {
  readonly at: number;
  constructor(at: number, reason: string) {
    super(reason);
    this.at = at;
  }
}

/** Deeper than any message of ours. */
const maxDepth = 100;

/**
 * Why a text is not one JSON value (RFC 8259), and at which character, counted from 1. The parser of V8 quotes the text in its
 * message, and that may be a token: this quotes nothing. @returns undefined when it is one
 */
export function jsonFault(text: string): string | undefined {
  try {
    const end = skipSpace(text, valueEnd(text, skipSpace(text, 0), 0));
    if (end < text.length) throw new Fault(end, 'something follows the end of the JSON value');
    return undefined;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return `${error.message}, at character ${error.at + 1}`;
  }
}

function match(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return at + (pattern.exec(text)?.[0].length ?? 0);
}

const skipSpace = (text: string, at: number): number => match(/[ \t\r\n]*/y, text, at);

/** @returns where the value that begins at `at` ends */
function valueEnd(text: string, at: number, depth: number): number {
  if (depth > maxDepth) throw new Fault(at, 'values are nested too deeply to say more');
  if (text[at] === '{') return listEnd(text, at, '}', (start) => memberEnd(text, start, depth + 1));
  if (text[at] === '[') return listEnd(text, at, ']', (start) => valueEnd(text, start, depth + 1));
  if (text[at] === '"') return textEnd(text, at);
  const end = match(/(-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|true|false|null)/y, text, at);
  if (end > at) return end;
  throw new Fault(at, at < text.length ? 'a value is expected' : 'the text ends where a value is expected');
}

/** The end of an object or an array: what is between its brackets, separated by commas. */
function listEnd(text: string, at: number, close: string, itemEnd: (start: number) => number): number {
  let next = skipSpace(text, at + 1);
  if (text[next] === close) return next + 1;
  for (;;) {
    next = skipSpace(text, itemEnd(next));
    if (text[next] === close) return next + 1;
    if (next >= text.length) throw new Fault(next, `the text ends before ${close}`);
    if (text[next] !== ',') throw new Fault(next, `a comma or ${close} is expected`);
    next = skipSpace(text, next + 1);
  }
}

function memberEnd(text: string, at: number, depth: number): number {
  if (at >= text.length) throw new Fault(at, 'the text ends before }');
  if (text[at] !== '"') throw new Fault(at, 'a key in double quotes is expected');
  const colon = skipSpace(text, textEnd(text, at));
  if (text[colon] !== ':') throw new Fault(colon, 'a colon is expected');
  return valueEnd(text, skipSpace(text, colon + 1), depth);
}

function textEnd(text: string, at: number): number {
  for (let index = at + 1; index < text.length; index++) {
    if (text[index] === '"') return index + 1;
    if (text[index] === '\\') index = escapeEnd(text, index);
    else if (text.charCodeAt(index) < 0x20)
      throw new Fault(index, 'a string has a control character: write a line end as \\n');
  }
  throw new Fault(at, 'the string that begins here does not end');
}

/** @returns the last character of the escape sequence that begins at `at` */
function escapeEnd(text: string, at: number): number {
  const end = match(/\\(["\\/bfnrt]|u[0-9a-fA-F]{4})/y, text, at);
  if (end === at) throw new Fault(at, 'a backslash in a string begins no escape sequence: write it as \\\\');
  return end - 1;
}
