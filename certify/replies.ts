import { encode } from 'cborg';
import { readCbor } from '../protocol/cbor.ts';
import { compactKeys } from '../protocol/cvm/compact.ts';
import { headBytes } from '../protocol/cvm/small-packets.ts';
import { encodingOf, readPayload } from '../protocol/encoding.ts';
import type { ReplySeen } from './observation.ts';

/** What a reply is, as far as a case needs to know. `head` and `part`: of a reply in parts. */
export type ReplyContent =
  | ({ readonly type: 'whole' } & Pick<
      ReplySeen,
      'status' | 'errorCode' | 'reason' | 'certificateId' | 'certificateOwnershipToken'
    >)
  | { readonly type: 'head'; readonly last: number }
  | { readonly type: 'part'; readonly number: number }
  | { readonly type: 'small'; readonly status: 'pending' | 'rejected'; readonly errorCode?: string };

/** The first byte of the messages that "Small packets" of docs/protocol.md describes. */
const [head, part, pending, rejected] = [1, 2, 3, 4];
const compactStatuses: Readonly<Record<number, ReplySeen['status']>> = { 1: 'accepted', 2: 'pending', 3: 'rejected' };

export function readReply(payload: Buffer): ReplyContent {
  const [type] = payload;
  if (type === head && payload.length === headBytes) return { type: 'head', last: payload.readUInt16BE(1) };
  if (type === part && payload.length > 5) return { type: 'part', number: payload.readUInt16BE(1) };
  if (type === pending) return { type: 'small', status: 'pending' };
  if (type === rejected && payload.length > 8)
    return { type: 'small', status: 'rejected', errorCode: payload.toString('latin1', 8, 8 + (payload[7] ?? 0)) };
  const fields = fieldsOf(payload);
  const { status, errorCode, errorMessage } = fields ?? {};
  const known = status === 'accepted' || status === 'pending' || status === 'rejected' ? status : 'other';
  return {
    ...{ type: 'whole', status: known },
    ...(typeof errorCode === 'string' ? { errorCode } : {}),
    ...(typeof errorMessage === 'string' ? { reason: errorMessage } : {}),
  };
}

function fieldsOf(payload: Buffer): Record<string, unknown> | undefined {
  const compact = compactMapOf(payload);
  if (compact !== undefined)
    return {
      status: compactStatuses[Number(compact.get(compactKeys.status))],
      errorCode: compact.get(compactKeys.errorCode),
      errorMessage: compact.get(compactKeys.errorMessage),
    };
  const read = readPayload(payload);
  return 'fault' in read ? undefined : (read.value as Record<string, unknown>);
}

/** A reply with numbers as keys; undefined for any other. */
function compactMapOf(payload: Buffer): Map<unknown, unknown> | undefined {
  if (encodingOf(payload) !== 'cbor') return undefined;
  const read = readCbor(payload);
  return 'value' in read && read.value instanceof Map && read.value.has(compactKeys.status) ? read.value : undefined;
}

/** Keys that no gateway sends today: another type each, one of them nested. Short, since buffers have little room to spare. */
const unknownFields = { x1: [1, { y: null }], x2: 'new' };
const unknownCompactKey = 99;

/** The same reply with keys that the device does not know; undefined for one in parts. */
export function withUnknownFields(payload: Buffer): Buffer | undefined {
  if (readReply(payload).type !== 'whole') return undefined;
  return rewritten(payload, (map) => {
    if (map.has(compactKeys.status)) map.set(unknownCompactKey, [1, 'new']);
    else for (const [key, value] of Object.entries(unknownFields)) map.set(key, value);
  });
}

/** The same reply with another `time` in it, epoch seconds; also where that is in the first of the parts. */
export function withTime(payload: Buffer, time: number): Buffer | undefined {
  const { type } = readReply(payload);
  if (type === 'head') {
    const changed = Buffer.from(payload);
    changed.writeUInt32BE(time, 9);
    return changed;
  }
  if (type !== 'whole') return undefined;
  return rewritten(payload, (map) => {
    map.set(map.has(compactKeys.status) ? compactKeys.time : 'time', time);
  });
}

/** The answer to a question for the time with another last byte in its signature, which stays well-formed DER. */
export function withDamagedSignature(payload: Buffer): Buffer | undefined {
  return rewritten(payload, (map) => {
    const written = map.get('sig');
    const signature = Buffer.from(typeof written === 'string' ? Buffer.from(written, 'base64') : (written as Buffer));
    const last = signature.length - 1;
    signature[last] = (signature[last] ?? 0) ^ 1;
    map.set('sig', typeof written === 'string' ? signature.toString('base64') : signature);
  });
}

function rewritten(payload: Buffer, change: (map: Map<unknown, unknown>) => void): Buffer | undefined {
  if (encodingOf(payload) === 'json') {
    const map = new Map<unknown, unknown>(Object.entries(JSON.parse(payload.toString()) as object));
    change(map);
    return Buffer.from(JSON.stringify(Object.fromEntries(map as Map<string, unknown>)));
  }
  const read = readCbor(payload);
  if (!('value' in read) || !(read.value instanceof Map)) return undefined;
  change(read.value);
  return Buffer.from(encode(read.value));
}
