import { encode } from 'cborg';
import fc from 'fast-check';

/** Values that JSON and CBOR both know. */
const anything = fc.jsonValue({ maxDepth: 4 });
const names = ['token', 'id', 'csr', 'key', 'format', 'certificateId', '__proto__', 'constructor', 'toString'];

/** Messages with keys of ours and of every object, under which stands anything; or something else altogether. */
const message = fc.oneof(
  { weight: 4, arbitrary: fc.dictionary(fc.constantFrom(...names), fc.oneof(anything, fc.string({ unit: 'binary' }))) },
  { weight: 1, arbitrary: anything },
);

/** CBOR that no encoder of JSON values writes: bytes, integers of 64 bits, maps with keys of any kind. */
const cborOnly = fc.uint8Array({ maxLength: 64 }).chain((bytes) =>
  fc.record({ token: fc.constantFrom(bytes, 2n ** 63n), csr: fc.constant(bytes) }).map((record) => {
    const map = new Map<unknown, unknown>(Object.entries(record));
    return map.set(bytes, bytes).set(7, new Map([[bytes, 'x']]));
  }),
);

/** Payloads as a generator, not a person, thinks of them; always the same for a seed. */
export function generatePayloads(seed: number, count: number): Buffer[] {
  const texts = fc.sample(message, { seed, numRuns: count });
  return [
    ...texts.map((value) => Buffer.from(JSON.stringify(value))),
    ...texts.map((value) => Buffer.from(encode(value))),
    ...fc.sample(cborOnly, { seed, numRuns: count }).map((value) => Buffer.from(encode(value))),
  ].filter(({ length }) => length <= 8192);
}
