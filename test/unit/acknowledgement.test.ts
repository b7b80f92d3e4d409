import { encode } from 'cborg';
import { expect, it } from 'vitest';
import { parseAcknowledgement } from '../../protocol/cvm/acknowledgement.ts';

const id = 'ea5008f92cc8922b79be19df16fc67958f12cfc815ee6bf82bb2ab3ee4c1d818';
const json = (value: unknown) => Buffer.from(JSON.stringify(value));

it.each<[string, Uint8Array]>([
  ['in lower case, as AWS writes it', json({ certificateId: id })],
  ['in capitals, as firmware may compute it', json({ certificateId: id.toUpperCase() })],
  ['in CBOR', encode({ certificateId: id.toUpperCase() })],
  ['as the bytes themselves', encode({ certificateId: Buffer.from(id, 'hex') })],
])('an acknowledgement names its certificate %s', (_how, payload) => {
  expect(parseAcknowledgement(payload)).toBe(id);
});

it.each<[string, Uint8Array]>([
  ['a digit less', json({ certificateId: id.slice(1) })],
  ['colons', json({ certificateId: id.replace(/..(?=.)/g, '$&:') })],
  ['31 bytes', encode({ certificateId: Buffer.from(id.slice(2), 'hex') })],
  ['no key', json(id)],
])('an acknowledgement with %s names none', (_what, payload) => {
  expect(parseAcknowledgement(payload)).toBeUndefined();
});
