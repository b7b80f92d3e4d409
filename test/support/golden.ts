import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decode } from 'cborg';
import { encodingOf } from '../../protocol/encoding.ts';
import { publishOf } from './raw-mqtt.ts';

/** Bytes of a message that never change: a line with what it is, then its bytes in hex, 32 a line. Lines that begin with # are for people. */
const fileOf = (name: string) => join(import.meta.dirname, '../golden', `${name}.hex`);

/** `npm run golden` writes what is new or was meant to change; whoever looks at the difference decides whether devices can take it. */
export const writesGolden = process.env.GOLDEN === 'write';

/**
 * The stored bytes of a message. With GOLDEN=write they are written first: for a message that is new, never for one that devices know.
 * @param name of its file, with its folder @param now its bytes at present
 */
export function golden(name: string, what: string, now: Buffer): Buffer {
  if (writesGolden) store(name, textOf([what], now));
  return readGolden(name);
}

/** The stored bytes of a message. */
export function readGolden(name: string): Buffer {
  return Buffer.from(readFileSync(fileOf(name), 'utf8').replace(/^#.*$|\s/gm, ''), 'hex');
}

/** A whole message, as it goes over the wire in a PUBLISH with QoS 1 and packet id 1. */
export type GoldenMessage = {
  /** of its file, with its folder */
  readonly name: string;
  readonly what: string;
  readonly topic: string;
  readonly payload: Buffer;
};

/** The file of a message, as it is stored and as it would be written now. With GOLDEN=write it is written first. */
export function goldenFile({ name, what, topic, payload }: GoldenMessage): { stored: string; now: string } {
  const now = textOf([`PUBLISH ${topic}: ${what}`, ...readable(payload)], publishOf(topic, payload, { id: 1 }));
  if (writesGolden) store(name, now);
  return { stored: readFileSync(fileOf(name), 'utf8'), now };
}

/** What a stored PUBLISH says. */
export function readGoldenPublish(name: string): { topic: string; payload: Buffer; bytes: number } {
  const bytes = readGolden(name);
  // the remaining length ends at the first byte below 128
  const at = bytes.findIndex((byte, index) => index > 0 && byte < 128) + 1;
  const length = bytes.readUInt16BE(at);
  const topic = bytes.toString('utf8', at + 2, at + 2 + length);
  return { topic, payload: bytes.subarray(at + 2 + length + 2), bytes: bytes.length };
}

/** The parsed payload: an object, or a map in CBOR; undefined where it is none. */
export function parsed(payload: Buffer): unknown {
  if (payload.length === 0 || (payload[0] ?? 0) < 0x20) return undefined;
  return encodingOf(payload) === 'cbor' ? decode(payload, { useMaps: true }) : JSON.parse(payload.toString());
}

/**
 * Diagnostic notation (RFC 8949, section 8); of what JSON has it is JSON.
 * @param most bytes of a byte string that are shown; of a longer one its length, too
 */
export function diagnostic(value: unknown, most = Number.POSITIVE_INFINITY): string {
  if (value instanceof Uint8Array) {
    const hex = Buffer.from(value).toString('hex');
    return value.length <= most ? `h'${hex}'` : `h'${hex.slice(0, 2 * most)}…' (${value.length} bytes)`;
  }
  if (value instanceof Map)
    return `{${[...value].map(([key, each]) => `${diagnostic(key)}: ${diagnostic(each, most)}`).join(', ')}}`;
  return JSON.stringify(value);
}

/** A line for each key, so that a difference shows which one changed. */
function readable(payload: Buffer): string[] {
  const value = parsed(payload);
  if (value === undefined) return [];
  const entries = value instanceof Map ? [...value] : Object.entries(value as object);
  return entries.map(([key, each]) => `  ${diagnostic(key)}: ${diagnostic(each)}`);
}

function textOf(comments: readonly string[], bytes: Buffer): string {
  return `${comments.map((line) => `# ${line}\n`).join('')}${hexLines(bytes).join('\n')}\n`;
}

function store(name: string, text: string): void {
  mkdirSync(join(fileOf(name), '..'), { recursive: true });
  writeFileSync(fileOf(name), text);
}

const hexLines = (bytes: Buffer): string[] => bytes.toString('hex').match(/.{1,64}/g) ?? [];
