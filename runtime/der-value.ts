import { isUtf8 } from 'node:buffer';
import { type DerElement, MalformedDer } from './der.ts';

/** Numbers of tags in the universal class (X.680 §8.4), of the types whose values have a rule. */
const [boolean, integer, bitString, nothing, oid, enumerated, utf8String] = [1, 2, 3, 5, 6, 10, 12];
const [sequence, set, universalString, bmpString] = [16, 17, 28, 30];

/** X.690 §8.2.1, §8.3.2, §8.6.2, §8.8.2, §8.4, §8.19.2, §8.23 */
const rules: ReadonlyMap<number, (content: Buffer) => boolean> = new Map([
  [boolean, ({ length }) => length === 1],
  [integer, isInteger],
  [bitString, (content) => content.length > 0 && (content[0] ?? 0) <= 7],
  [nothing, ({ length }) => length === 0],
  [oid, isOid],
  [enumerated, isInteger],
  [utf8String, isUtf8],
  [universalString, ({ length }) => length % 4 === 0],
  [bmpString, isBmp],
]);

/**
 * Holds a value of any type to the rules of its type, as OpenSSL does when it reads a request: a value that breaks them is refused there,
 * and may be refused by AWS, long after the device has gone. What lies in a SEQUENCE or SET is not looked at.
 * @throws MalformedDer
 */
export function checkValue({ tag, content }: DerElement): void {
  const [isUniversal, isConstructed, type] = [tag < 0x40, (tag & 0x20) !== 0, tag & 0x1f];
  if (!isUniversal) return;
  // strings come in one piece (X.690 §10.2)
  if (isConstructed !== (type === sequence || type === set)) throw new MalformedDer();
  if (rules.get(type)?.(content) === false) throw new MalformedDer();
}

/** As few bytes as it can have: the first nine bits are not all the same. */
function isInteger(content: Buffer): boolean {
  const [first, second] = content;
  if (first === undefined || second === undefined) return first !== undefined;
  return first === 0 ? second >= 0x80 : first !== 0xff || second < 0x80;
}

/** Each number in it has as few bytes as it can have, and the last byte ends one. */
export function isOid(content: Buffer): boolean {
  const last = content.at(-1);
  if (last === undefined || last >= 0x80) return false;
  return content.every((byte, index) => byte !== 0x80 || (index > 0 && (content[index - 1] ?? 0) >= 0x80));
}

/** Characters of two bytes, none of which is half of a pair. */
function isBmp(content: Buffer): boolean {
  if (content.length % 2 !== 0) return false;
  return content.every((byte, index) => index % 2 === 1 || byte < 0xd8 || byte > 0xdf);
}
