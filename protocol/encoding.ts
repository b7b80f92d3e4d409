import { encode as encodeCbor } from 'cborg';
import { readCbor } from './cbor.ts';
import { jsonFault } from './json-fault.ts';

/** How a payload is written: JSON (RFC 8259) or CBOR (RFC 8949). A reply is written as its request was. */
export type Encoding = 'json' | 'cbor';

/** The first byte tells: CBOR begins with a map (major type 5), or a tag (6) before it, and no text in UTF-8 begins with either. */
export function encodingOf(payload: Uint8Array): Encoding {
  const majorType = (payload[0] ?? 0) >> 5;
  return majorType === 5 || majorType === 6 ? 'cbor' : 'json';
}

/** The object in a payload, or why there is none: for the device, so it quotes nothing of it. */
export type ReadPayload = { readonly value: object } | { readonly fault: string };

/**
 * Reads a JSON object in UTF-8, or a CBOR map, which becomes an object. NULs after it are no part of it: firmware that sends its whole
 * buffer, or the end of a C string, sends them.
 */
export function readPayload(payload: Uint8Array): ReadPayload {
  if (payload.every((byte) => byte === 0)) return { fault: 'the payload is empty' };
  return encodingOf(payload) === 'json' ? readJson(payload) : readMap(payload);
}

const encodedTwice = {
  fault: 'the payload is a JSON string with an object in it: it was encoded twice; send the object itself',
};
const notAnObject = { fault: 'the payload must be a JSON object or a CBOR map' };

function readJson(payload: Uint8Array): ReadPayload {
  const [text, isUtf8] = decodeText(payload);
  const otherForm = otherFormOf(payload);
  if (otherForm !== undefined) return { fault: `the payload is not JSON: ${otherForm}` };
  // no text in UTF-8 begins so: an array of CBOR
  if (!isUtf8 && (payload[0] ?? 0) >> 5 === 4) return notAnObject;
  if (!isUtf8)
    return { fault: `the payload is neither JSON nor CBOR: ${notUtf8}, at character ${text.indexOf('\ufffd') + 1}` };
  // the lookbehind keeps it from beginning at each of thousands of NULs that are not at the end
  const json = text.replace(/(?<!\0)\0+$/, '');
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === 'string' && /^\s*\{/.test(value)) return encodedTwice;
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { value } : notAnObject;
  } catch {
    return { fault: `the payload is not JSON: ${jsonFault(json) ?? 'it cannot be read'}` };
  }
}

/** JSON that is right, and arrives in another way than it should: the words of the parser would send its author to the wrong place. */
function otherFormOf(payload: Uint8Array): string | undefined {
  const [first, second, third] = payload;
  if ((first === brace && second === 0 && third !== 0) || (first === 0xff && second === 0xfe)) return utf16;
  if ((first === 0 && second === brace) || (first === 0xfe && second === 0xff)) {
    // two bytes a character, with the higher one first; or one NUL before a text of one byte a character
    return third === 0 || first === 0xfe ? utf16 : propertiesFirst;
  }
  return undefined;
}

const brace = 0x7b;
const utf16 = 'the text is UTF-16; send UTF-8';
const propertiesFirst =
  'a NUL stands before it; where that is the length of properties, the packet is one of MQTT 5, and the connection one of MQTT 3.1.1';

const notUtf8 = 'the text is not UTF-8';

function decodeText(payload: Uint8Array): [text: string, isUtf8: boolean] {
  try {
    return [new TextDecoder('utf-8', { fatal: true }).decode(payload), true];
  } catch {
    return [new TextDecoder('utf-8').decode(payload), false];
  }
}

function readMap(payload: Uint8Array): ReadPayload {
  const read = readCbor(payload);
  if ('fault' in read) return { fault: `the payload is not CBOR: ${read.fault}` };
  if (!(read.value instanceof Map)) return notAnObject;
  if (read.rest.some((byte) => byte !== 0))
    return {
      fault: `the payload is not CBOR: something follows its map, at byte ${payload.length - read.rest.length}`,
    };
  // keys that are not text are dropped: turned into text, one could become the name of a field
  return { value: Object.fromEntries([...read.value].filter(([key]) => typeof key === 'string')) };
}

/** Texts, numbers, bytes where the encoding is CBOR, and objects of texts. */
export type PayloadFields = Readonly<Record<string, string | number | Uint8Array | Readonly<Record<string, string>>>>;

export function writePayload(body: PayloadFields, encoding: Encoding): Buffer {
  return Buffer.from(encoding === 'json' ? JSON.stringify(body) : encodeCbor(body));
}
