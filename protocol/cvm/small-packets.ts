import { createHash } from 'node:crypto';
import type { ReplyParts } from '../dialect.ts';
import { cutText } from '../problems.ts';

/**
 * What a device with small packets reads instead of JSON or CBOR: few fields at fixed places, numbers with the highest byte first. The first
 * byte tells, and no JSON text or CBOR map begins with it. The section "Small packets" of docs/protocol.md is about this file.
 */
const types = { head: 1, part: 2, pending: 3, rejected: 4 } as const;

/** Below this packet size, in bytes, `pending` and `rejected` are written as here; from it on they fit as JSON, whatever the serial and `id`. */
export const smallBelow = 512;

/** Bytes of part 0, which has no data, and bytes before the data in all others. */
export const [headBytes, partHeaderBytes] = [45, 5];

/**
 * Cuts a reply. Part 0 says how many there are and has the SHA-256 of the whole, so a device that asked for `first` on another connection knows
 * whether the parts that it has are of the same whole. Every part is cut when it is asked for.
 * @param room bytes of a payload, at least `headBytes`
 * @param first where to begin. With part 0 where there is no such part: the device has the beginning of another, longer reply in flash, from
 * before it was reissued or takes larger packets, and a refusal would hold it there for good @param now epoch milliseconds
 */
export function cutIntoParts(whole: Buffer, room: number, first: number, now: number): ReplyParts {
  const sha256 = createHash('sha256').update(whole).digest();
  const size = Math.min(room - partHeaderBytes, 0xffff);
  const count = Math.ceil(whole.length / size);
  return {
    digest: sha256.toString('hex'),
    first: first > count ? 0 : first,
    last: count,
    part: (number) =>
      number === 0
        ? head({ count, size, length: whole.length, now, sha256 })
        : part(number, sha256, whole.subarray((number - 1) * size, number * size)),
  };
}

type Head = { count: number; size: number; length: number; now: number; sha256: Buffer };

function head({ count, size, length, now, sha256 }: Head): Buffer {
  return Buffer.concat([
    uint8(types.head),
    uint16(count),
    uint16(size),
    uint32(length),
    uint32(Math.floor(now / 1000)),
    sha256,
  ]);
}

function part(number: number, sha256: Buffer, data: Buffer): Buffer {
  return Buffer.concat([uint8(types.part), uint16(number), sha256.subarray(0, 2), data]);
}

/** @param notice times in seconds; an unknown `etaSeconds` is sent as 0 */
export function smallPending(
  notice: { position: number; etaSeconds?: number; retryAfterSeconds: number },
  id: string | undefined,
  room: number,
): Buffer | undefined {
  const { position, etaSeconds = 0, retryAfterSeconds } = notice;
  const fields = Buffer.concat([uint8(types.pending), uint32(position), uint32(etaSeconds), uint32(retryAfterSeconds)]);
  return withTexts(fields, [idIfItFits(id, room - fields.length - 1)], '', room);
}

/** @returns undefined where there is no room for the code */
export function smallRejected(
  { statusCode, errorCode, message, retryAfterSeconds = 0 }: SmallRejection,
  id: string | undefined,
  room: number,
): Buffer | undefined {
  const fields = Buffer.concat([uint8(types.rejected), uint16(statusCode), uint32(retryAfterSeconds)]);
  const left = room - fields.length - (1 + errorCode.length) - 1;
  return withTexts(fields, [errorCode, idIfItFits(id, left)], message, room);
}

type SmallRejection = { statusCode: number; errorCode: string; message: string; retryAfterSeconds?: number };

const idIfItFits = (id = '', room: number): string => (Buffer.byteLength(id) <= room ? id : '');

/** Fields, then texts behind a byte with their length, then as much of the last text as there is room for. */
function withTexts(fields: Buffer, texts: readonly string[], last: string, room: number): Buffer | undefined {
  const prefixed = texts.map(Buffer.from).flatMap((text) => [uint8(text.length), text]);
  const before = Buffer.concat([fields, ...prefixed]);
  if (before.length > room) return undefined;
  return Buffer.concat([before, Buffer.from(shortened(last, room - before.length))]);
}

/** The beginning of a text, at most `bytes` bytes in UTF-8. It never ends within a character or a number. */
function shortened(text: string, bytes: number): string {
  let [short, used] = ['', 0];
  for (const character of text) {
    used += Buffer.byteLength(character);
    if (used > bytes) break;
    short += character;
  }
  return cutText(text, short.length);
}

const uint8 = (value: number): Buffer => Buffer.from([value]);

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

/** A larger number is written as the largest. */
function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(Math.min(Math.max(value, 0), 0xffffffff));
  return bytes;
}
