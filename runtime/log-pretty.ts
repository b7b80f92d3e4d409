import type { DestinationStream } from 'pino';

const levels: Readonly<Record<number, readonly [name: string, colour: number]>> = {
  10: ['TRACE', 90],
  20: ['DEBUG', 90],
  30: ['INFO', 32],
  40: ['WARN', 33],
  50: ['ERROR', 31],
  60: ['FATAL', 31],
};

type Line = Readonly<Record<string, unknown>> & {
  readonly level?: number;
  readonly time?: string;
  readonly msg?: string;
  readonly cure?: unknown;
  readonly err?: unknown;
};

/**
 * Writes each line of the log for people: time, level, what to do (where the line knows it), what happened, and the fields. One line each,
 * whatever a device has sent.
 */
export function prettyLog(
  destination: DestinationStream,
  { colours }: { readonly colours: boolean },
): DestinationStream {
  return { write: (line) => destination.write(`${prettyLine(line, colours)}\n`) };
}

/** @param line one JSON object of the log. What is none stays as it is */
export function prettyLine(line: string, colours = false): string {
  const fields = parse(line);
  if (fields === undefined) return oneLine(line.trimEnd());
  const { level = 30, time = '', msg = '', cure, err, ...rest } = fields;
  const paint = (text: string, code: number) => (colours ? `\u001b[${code}m${text}\u001b[0m` : text);
  const [name, colour] = levels[level] ?? [String(level), 0];
  const { cure: errCure, text: errText } = errorOf(err);
  const toDo = textOf(cure) ?? errCure;
  const parts = [
    paint(time, 90),
    paint(name.padEnd(5), colour),
    ...(toDo === undefined ? [] : [paint(`${oneLine(toDo)} <-`, 1)]),
    oneLine(msg),
    ...(errText === undefined ? [] : [`(${oneLine(errText)})`]),
    ...Object.entries(rest).map(([key, value]) => paint(`${oneLine(key)}=`, 90) + fieldText(value)),
  ];
  return parts.filter((part) => part !== '').join(' ');
}

function parse(line: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Line) : undefined;
  } catch {
    return undefined;
  }
}

/** The messages of an error and of its causes, and the first cure among them. Where it was thrown is in the JSON format. */
function errorOf(err: unknown): { readonly cure?: string | undefined; readonly text?: string } {
  if (typeof err === 'string') return { text: err };
  const messages: string[] = [];
  let cure: string | undefined;
  for (let each: unknown = err; isRecord(each); each = each.cause) {
    cure ??= textOf(each.cure);
    const [message, code] = [textOf(each.message) ?? '', each.code];
    if (message !== '' && !messages.some((earlier) => earlier.includes(message)))
      messages.push(code === undefined ? message : `${message}, ${String(code)}`);
  }
  return messages.length === 0 ? { cure } : { cure, text: messages.join(': ') };
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null;
const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

const fieldText = (value: unknown): string =>
  typeof value === 'string' && /^[\w.:@/+-]+$/.test(value) ? value : oneLine(JSON.stringify(value) ?? '');

/**
 * Control characters, those that end a line or change its direction, and the tags that no reader sees are written as escapes: a serial or an address that somebody else chose
 * must not write lines of its own, or steer the terminal.
 */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

const oneLine = (text: string): string =>
  text.replace(unprintable, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
