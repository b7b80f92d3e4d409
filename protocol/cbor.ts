import { isUtf8 } from 'node:buffer';
import { decodeFirst, Token, Tokenizer, Type } from 'cborg';

/** Keys that come twice are refused (RFC 8949, section 5.6): two readers could use different ones of the two values. */
const options = { useMaps: true, rejectDuplicateMapKeys: true, retainStringBytes: true };

/** First bytes of data items that cborg refuses (RFC 8949, section 3.2.3 and 3.3). */
const [openBytes, openText, simpleInOneByte] = [0x5f, 0x7f, 0xf8];
const isTag = (byte: number) => byte >> 5 === 6;
/** Values from 0xf4 on have a meaning: false, true, null, undefined. */
const isUnassigned = (byte: number) => (byte >= 0xe0 && byte < 0xf4) || byte === simpleInOneByte;

/**
 * Reads every well-formed data item, since an unknown key may have any value: strings of indefinite length are joined, tags are
 * skipped (55799, "this is CBOR", is one), simple values without a meaning are `undefined`. cborg replaces text that is not
 * UTF-8 by U+FFFD; RFC 8949 section 3.1 calls such text invalid.
 */
class LenientTokenizer extends Tokenizer {
  override next(): Token {
    const byte = this.data[this._pos] ?? 0;
    if (isTag(byte)) {
      super.next();
      if (this.done() || this.data[this._pos] === 0xff) throw new Error(`${prefix} a tag has no value`);
      return this.next();
    }
    if (byte === openBytes || byte === openText) return this.#joined(byte === openText);
    if (isUnassigned(byte)) return this.#skip(byte === simpleInOneByte ? 2 : 1);
    const token = super.next();
    if (token.byteValue !== undefined && !isUtf8(token.byteValue)) throw new Error(`${prefix} a text is not UTF-8`);
    return token;
  }

  #skip(length: number): Token {
    if (this._pos + length > this.data.length) throw new Error(`${prefix} unexpected end of data`);
    this._pos += length;
    return new Token(Type.undefined, undefined, length);
  }

  #joined(isText: boolean): Token {
    const [type, start] = [isText ? Type.string : Type.bytes, this._pos++];
    const parts: Uint8Array[] = [];
    for (;;) {
      if (this.done()) throw new Error(`${prefix} a string of indefinite length does not end`);
      const token = super.next();
      if (token.type === Type.break) break;
      if (token.type !== type) throw new Error(`${prefix} a string of indefinite length has a part of another type`);
      parts.push(isText ? Buffer.from(token.value) : token.value);
      if (token.byteValue !== undefined && !isUtf8(token.byteValue)) throw new Error(`${prefix} a text is not UTF-8`);
    }
    const whole = Buffer.concat(parts);
    return new Token(type, isText ? whole.toString() : new Uint8Array(whole), this._pos - start);
  }
}

const prefix = 'CBOR decode error:';

/** The first data item, and what comes after it; or why there is none, and at which byte, counted from 0. Quotes nothing. */
export function readCbor(payload: Uint8Array): { value: unknown; rest: Uint8Array } | { fault: string } {
  const tokenizer = new LenientTokenizer(payload, options);
  try {
    const [value, rest] = decodeFirst(payload, { ...options, tokenizer });
    return { value, rest };
  } catch (error) {
    return { fault: `${reasonOf(error)}, at byte ${Math.min(tokenizer.pos(), payload.length)}` };
  }
}

/** cborg quotes a key that comes twice. */
function reasonOf(error: unknown): string {
  const { message } = error as Error;
  if (!message.startsWith(prefix)) return 'it is malformed, or nested too deeply';
  return message
    .slice(prefix.length)
    .replace(/ "[\s\S]*"/, '')
    .trim();
}
