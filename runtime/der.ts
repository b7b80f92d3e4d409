/** One element of DER or BER with a definite length (X.690 §8.1). */
export type DerElement = {
  readonly tag: number;
  readonly content: Buffer;
  /** tag, length and content, as they were read */
  readonly whole: Buffer;
};

/** Tags of the universal class, SEQUENCE and SET with the bit for "constructed" (X.690 §8.1.2.5). */
export const derTag = {
  integer: 0x02,
  bitString: 0x03,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
};

/** A CSR has at most a few kilobytes: longer lengths than of two bytes are not read. */
const maxLengthBytes = 2;

/**
 * The elements that lie in `bytes` one after the other, and not what lies in them.
 * @throws where they do not fill `bytes` exactly, at an indefinite length, at the tag that ends one, at a tag of more than one byte, and where a
 * length of nothing is longer than it must be, which OpenSSL does not read in every place
 */
export function readDer(bytes: Buffer): DerElement[] {
  const elements: DerElement[] = [];
  for (let start = 0; start < bytes.length; ) {
    const [tag = 0, first = 0] = bytes.subarray(start, start + 2);
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
    const from = start + 2 + lengthBytes;
    const isReadable =
      tag !== 0 && (tag & 0x1f) !== 0x1f && first !== 0x80 && lengthBytes <= maxLengthBytes && from <= bytes.length;
    if (!isReadable) throw new MalformedDer();
    const to = from + (lengthBytes === 0 ? first : bytes.readUIntBE(start + 2, lengthBytes));
    if (to > bytes.length || (to === from && lengthBytes > 0)) throw new MalformedDer();
    elements.push({ tag, content: bytes.subarray(from, to), whole: bytes.subarray(start, to) });
    start = to;
  }
  return elements;
}

/** The elements in one that must be there, and must have this tag. @throws where it is not so */
export function readWithin(element: DerElement | undefined, tag: number): DerElement[] {
  return readDer(contentOf(element, tag));
}

/** @throws where the element is missing or has another tag */
export function contentOf(element: DerElement | undefined, tag: number): Buffer {
  if (element?.tag !== tag) throw new MalformedDer();
  return element.content;
}

export class MalformedDer extends Error {}

/** Writes one element. @param content at most 65,535 bytes in all */
export function writeDer(tag: number, ...content: readonly Buffer[]): Buffer {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  if (length > 0xffff) throw new RangeError('an element of DER has more than 65,535 bytes');
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), ...content]);
}
