import { encode } from 'cborg';
import fc from 'fast-check';

/** Values that exist in JSON and in CBOR. */
const anything = fc.jsonValue({ maxDepth: 4 });
const fields = ['token', 'id', 'csr', 'key', 'format', 'maxPacket', 'part', 'certificateId'];
const fieldsOfAws = ['certificateSigningRequest', 'certificateOwnershipToken', 'parameters', 'RegistrationToken'];
const names = [...fields, ...fieldsOfAws, '__proto__', 'constructor', 'toString'];

/** Messages with our keys and with keys of every object, holding any value; or any other value. */
const message = fc.oneof(
  { weight: 4, arbitrary: fc.dictionary(fc.constantFrom(...names), fc.oneof(anything, fc.string({ unit: 'binary' }))) },
  { weight: 1, arbitrary: anything },
);

/** CBOR that no encoder of JSON values writes: bytes, 64-bit integers, maps with keys of any kind. */
const cborOnly = fc.uint8Array({ maxLength: 64 }).chain((bytes) =>
  fc.record({ token: fc.constantFrom(bytes, 2n ** 63n), csr: fc.constant(bytes) }).map((record) => {
    const map = new Map<unknown, unknown>(Object.entries(record));
    return map.set(bytes, bytes).set(7, new Map([[bytes, 'x']]));
  }),
);

/** Generated payloads; always the same for a seed. */
export function generatePayloads(seed: number, count: number): Buffer[] {
  const texts = fc.sample(message, { seed, numRuns: count });
  return [
    ...texts.map((value) => Buffer.from(JSON.stringify(value))),
    ...texts.map((value) => Buffer.from(encode(value))),
    ...fc.sample(cborOnly, { seed, numRuns: count }).map((value) => Buffer.from(encode(value))),
  ].filter(({ length }) => length <= 8192);
}
