import { isUtf8 } from 'node:buffer';
import { codes } from '../mqtt5/reason-codes.ts';

/** Why a connection must end, and what is sent before it ends. `reason` has nothing in it that the device sent. */
export type Violation = {
  readonly reason: string;
  /** as it is */
  readonly answer?: Buffer;
  /** a reason code of MQTT 5, for clients of that version */
  readonly code?: number;
};

/** Thrown while a packet is read; `violationOf` makes it a value. */
class Malformed extends Error {
  readonly violation: Violation;
  constructor(violation: Violation) {
    super(violation.reason);
    this.violation = violation;
  }
}

/** Ends the reading of a packet. */
export const malformed = (reason: string, more: Omit<Violation, 'reason'> = {}): Error =>
  new Malformed({ reason, ...more });

/** What was wrong with a packet. @param error thrown while it was read; one that `malformed` did not make is thrown again */
export function violationOf(error: unknown): Violation {
  if (!(error instanceof Malformed)) throw error;
  return error.violation;
}

/** The clauses of text fields: they have other numbers in MQTT 3.1.1 and in 5. */
export type TextClauses = { readonly utf8: string; readonly control: string };

/** For reasons: what is read, the name of the packet, say; and what is probably wrong where it is too short. */
export type ReaderWords = { readonly what: string; readonly clauses?: TextClauses; readonly hint?: string };

const ofVersion311: TextClauses = { utf8: '1.5.3-1', control: '1.5.3-2' };

export type Reader = ReturnType<typeof createReader>;

/** Reads the fields of a packet in turn. Each of them throws `malformed`. */
export function createReader(body: Buffer, { what, clauses = ofVersion311, hint = '' }: ReaderWords) {
  let at = 0;
  function bytes(count: number): Buffer {
    if (at + count > body.length) throw malformed(`${what} ends in the middle of a field${hint}`);
    at += count;
    return body.subarray(at - count, at);
  }
  const uint16 = () => bytes(2).readUInt16BE();
  return {
    bytes,
    uint16,
    byte: () => bytes(1)[0] ?? 0,
    left: () => body.length - at,
    /** passes over all that is left */
    skip(): void {
      at = body.length;
    },
    /** Well-formed UTF-8 without NUL; the standard permits to close for other control characters */
    text(field: string): string {
      const raw = bytes(uint16());
      if (!isUtf8(raw)) throw malformed(`the ${field} is not UTF-8 [MQTT-${clauses.utf8}]`);
      const text = raw.toString('utf8');
      if (hasControlCharacter(text)) throw malformed(`the ${field} has a control character [MQTT-${clauses.control}]`);
      return text;
    },
  };
}

function hasControlCharacter(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  }
  return false;
}

/**
 * Filters that one SUBSCRIBE or UNSUBSCRIBE may have, and that one connection may have at a time. A device has a handful; AWS IoT Core takes 8 in a
 * packet and 50 of a connection. Each costs time to judge, and memory once it is granted, also of a stranger.
 * @see https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
 */
export const maxFilters = 50;

/** Calls `read` for each filter of a packet. @throws where there are too many */
export function readFilters(body: Pick<Reader, 'left'>, read: () => void): void {
  let count = 0;
  do {
    if (++count > maxFilters)
      throw malformed(`more than ${maxFilters} topic filters in one packet`, { code: codes.quotaExceeded });
    read();
  } while (body.left() > 0);
}

/** [MQTT-4.7] */
export function judgeFilter(filter: string): void {
  if (filter === '') throw malformed('an empty topic filter [MQTT-4.7.3-1]');
  const levels = filter.split('/');
  if (levels.some((level) => level.length > 1 && /[+#]/.test(level)))
    throw malformed('a topic filter with a wildcard that does not fill its level [MQTT-4.7.1-2, 4.7.1-3]');
  if (levels.slice(0, -1).includes('#')) throw malformed('a topic filter with # before its last level [MQTT-4.7.1-2]');
}
