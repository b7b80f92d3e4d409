import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One step of a sequence: bytes that the client sends or must receive, or a message that another client publishes. */
export type Step =
  | { readonly type: 'send' | 'recv'; readonly bytes: Buffer }
  | { readonly type: 'publish'; readonly topic: string; readonly qos: 0 | 1 | 2; readonly payload: string };

/** One sequence of packets on a connection of its own, and whether the broker must have closed it at the end. */
export type Vector = {
  readonly name: string;
  readonly level: number;
  /** the sequence begins after an accepted CONNECT */
  readonly isConnected: boolean;
  readonly endsClosed: boolean;
  readonly steps: readonly Step[];
};

type Shared = { readonly ver?: number; readonly connect?: boolean; readonly expect_disconnect?: boolean };
type Written = { readonly type: string; readonly payload: string; readonly topic?: string; readonly qos?: 0 | 1 | 2 };
type Test = Shared & { readonly name: string; readonly msgs: readonly Written[] };
type Group = Shared & { readonly group: string; readonly disable?: boolean; readonly tests: readonly Test[] };

/**
 * Reads the sequences of mosquitto's own tests (test/broker/data/*.json, run there by msg_sequence_test.py) at MQTT levels 3, 4 and 5.
 * What a test does not say, its group says; what neither says is level 4, connected first, and closed at the end. In groups of MQTT 5 it is
 * level 5.
 */
export function readVectors(folder: string): Vector[] {
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return files.sort().flatMap((name) => {
    const groups = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Group[];
    return groups.filter(({ disable }) => disable !== true).flatMap(vectorsOf);
  });
}

function vectorsOf({ group, tests, ...shared }: Group): Vector[] {
  const usual = group.startsWith('v5') ? 5 : 4;
  return tests.map(({ name, msgs, ...own }) => {
    const { ver: level = usual, connect = true, expect_disconnect = true } = { ...shared, ...own };
    const about = { level, isConnected: connect, endsClosed: expect_disconnect };
    return { name: `${group} ${name}`.trim(), ...about, steps: msgs.map(stepOf) };
  });
}

function stepOf({ type, payload, topic = '', qos = 0 }: Written): Step {
  if (type === 'publish') return { type, topic, qos, payload };
  if (type !== 'send' && type !== 'recv') throw new Error(`a step of the unknown type ${type}`);
  return { type, bytes: bytesOf(payload) };
}

/**
 * mosquitto's notation for bytes: `'text'`, `i8` one byte, `H`, `k`, `m`, `s` a number of 16 bits, `L` of 32, `v`, `r` a
 * variable length, and hex for the rest.
 */
export function bytesOf(notation: string): Buffer {
  // hex may be cut in the middle of a byte
  const joined = notation.replace(/(?<=(?:^| )[\dA-Fa-f]+) +(?=[\dA-Fa-f]+(?: |$))/g, '');
  const parts = joined.match(/'[^']*'|[^ ]+/g) ?? [];
  return Buffer.concat(parts.map(bytesOfPart));
}

function bytesOfPart(part: string): Buffer {
  const [kind = '', number] = [part[0], Number(part.slice(1))];
  if (kind === "'") return Buffer.from(part.slice(1, -1));
  if (kind === 'i') return Buffer.from([number]);
  if ('Hkms'.includes(kind)) return Buffer.from([number >> 8, number & 0xff]);
  if (kind === 'L') return Buffer.from([24, 16, 8, 0].map((shift) => (number >>> shift) & 0xff));
  return 'vr'.includes(kind) ? variableLength(number) : Buffer.from(part, 'hex');
}

/** Also of lengths that MQTT has no room for: some sequences send them. */
function variableLength(length: number): Buffer {
  const bytes: number[] = [];
  for (let left = length; ; left = Math.floor(left / 128)) {
    bytes.push((left % 128) + (left >= 128 ? 128 : 0));
    if (left < 128) return Buffer.from(bytes);
  }
}
