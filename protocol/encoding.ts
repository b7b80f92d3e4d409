import { isUtf8 } from 'node:buffer';
import { decode as decodeCbor, encode as encodeCbor, Tokenizer } from 'cborg';

/** How a payload is written: JSON (RFC 8259) or CBOR (RFC 8949). A reply is written as its request was. */
export type Encoding = 'json' | 'cbor';

/** The first byte tells: a CBOR map begins with major type 5, which no text in UTF-8 begins with. */
export function encodingOf(payload: Uint8Array): Encoding {
  return (payload[0] ?? 0) >> 5 === 5 ? 'cbor' : 'json';
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Values that no message of ours needs are refused: each would be one more thing for the parser to get wrong. */
const cborOptions = {
  useMaps: true,
  rejectDuplicateMapKeys: true,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  retainStringBytes: true,
};

/** cborg replaces text that is not UTF-8 by U+FFFD; RFC 8949 section 3.1 calls such text invalid. */
class StrictTokenizer extends Tokenizer {
  override next() {
    const token = super.next();
    if (token.byteValue !== undefined && !isUtf8(token.byteValue)) throw new Error('text that is not UTF-8');
    return token;
  }
}

function readCbor(payload: Uint8Array): unknown {
  return objectOf(decodeCbor(payload, { ...cborOptions, tokenizer: new StrictTokenizer(payload, cborOptions) }));
}

/** The value of a payload; undefined when it is neither JSON in UTF-8 nor CBOR, or has anything after its value. */
export function readPayload(payload: Uint8Array): unknown {
  try {
    return encodingOf(payload) === 'json' ? JSON.parse(utf8.decode(payload)) : readCbor(payload);
  } catch {
    return undefined;
  }
}

/** A CBOR map as an object. Keys that are not text are dropped: turned into text, one could become the name of a field. */
function objectOf(value: unknown): unknown {
  if (!(value instanceof Map)) return undefined;
  return Object.fromEntries([...value].filter(([key]) => typeof key === 'string'));
}

/** @param body texts, numbers, and bytes where the encoding is CBOR */
export function writePayload(body: Readonly<Record<string, string | number | Uint8Array>>, encoding: Encoding): Buffer {
  return Buffer.from(encoding === 'json' ? JSON.stringify(body) : encodeCbor(body));
}
