import { constants } from 'node:crypto';
import { contentOf, type DerElement, derTag, MalformedDer, readDer, readWithin } from '../runtime/der.ts';

/** The parts of a certification request (RFC 2986 §4) that decide about it. */
export type CsrForm = {
  /** the bytes that are signed */
  readonly info: Buffer;
  readonly spki: Buffer;
  /** undefined for one that we do not know */
  readonly algorithm: SignatureAlgorithm | undefined;
  readonly signature: Buffer;
};

export type SignatureAlgorithm = {
  readonly keyType: 'ec' | 'rsa';
  readonly hash: 'sha256' | 'sha384' | 'sha512';
  readonly pss?: { readonly padding: number; readonly saltLength: number };
};

/**
 * Reads the structure, all of it but for the values of names and attributes, which decide nothing: the certificate is for the serial.
 * @throws MalformedDer where the bytes are no certification request
 */
export function readCsrForm(der: Buffer): CsrForm {
  const [request, ...behind] = readDer(der);
  const [info, algorithm, signature, ...more] = readWithin(request, derTag.sequence);
  const [version, subject, spki, attributes, ...others] = readWithin(info, derTag.sequence);
  if (behind.length + more.length + others.length > 0) throw new MalformedDer();
  contentOf(version, derTag.integer);
  for (const names of readWithin(subject, derTag.sequence))
    for (const name of readWithin(names, derTag.set)) if (!isString(readTyped(name))) throw new MalformedDer();
  readWithin(spki, derTag.sequence);
  // [0]: required by the RFC, and left out by some firmware that has none
  if (attributes !== undefined)
    for (const attribute of readWithin(attributes, 0xa0)) readWithin(readTyped(attribute), derTag.set);
  return {
    info: (info as DerElement).whole,
    spki: (spki as DerElement).whole,
    algorithm: algorithmOf(algorithm),
    signature: bitsOf(signature),
  };
}

/** Of the kinds that X.520 has for names: UTF8, Numeric, Printable, Teletex, IA5 and BMP string (X.680 §8.4). */
const isString = ({ tag, content }: DerElement): boolean =>
  [0x0c, 0x12, 0x13, 0x14, 0x16].includes(tag) || (tag === 0x1e && content.length % 2 === 0);

/** @returns the value of a pair of type and value, as names (RFC 5280 §4.1.2.4) and attributes are */
function readTyped(pair: DerElement): DerElement {
  const [type, value, ...more] = readWithin(pair, derTag.sequence);
  oidOf(type);
  if (value === undefined || more.length > 0) throw new MalformedDer();
  return value;
}

/** A signature is a whole number of bytes: none of its bits is unused (X.690 §8.6.2.2). */
function bitsOf(element: DerElement | undefined): Buffer {
  const content = contentOf(element, derTag.bitString);
  if (content[0] !== 0) throw new MalformedDer();
  return content.subarray(1);
}

/** By the object identifiers in hex. RFC 5758 §3.2, RFC 4055 §5. */
const algorithms: Readonly<Record<string, SignatureAlgorithm>> = {
  '2a8648ce3d040302': { keyType: 'ec', hash: 'sha256' },
  '2a8648ce3d040303': { keyType: 'ec', hash: 'sha384' },
  '2a8648ce3d040304': { keyType: 'ec', hash: 'sha512' },
  '2a864886f70d01010b': { keyType: 'rsa', hash: 'sha256' },
  '2a864886f70d01010c': { keyType: 'rsa', hash: 'sha384' },
  '2a864886f70d01010d': { keyType: 'rsa', hash: 'sha512' },
};

const [rsaPss, mgf1] = ['2a864886f70d01010a', '2a864886f70d010108'];

/** RFC 8017 A.2.4 */
const hashes: Readonly<Record<string, SignatureAlgorithm['hash']>> = {
  '608648016503040201': 'sha256',
  '608648016503040202': 'sha384',
  '608648016503040203': 'sha512',
};

/** In hex. The last byte of an object identifier ends it (X.690 §8.19.2). */
function oidOf(element: DerElement | undefined): string {
  const content = contentOf(element, derTag.oid);
  if (content.length === 0 || (content.at(-1) ?? 0) >= 0x80) throw new MalformedDer();
  return content.toString('hex');
}

function algorithmOf(element: DerElement | undefined): SignatureAlgorithm | undefined {
  const [type, parameters] = readWithin(element, derTag.sequence);
  const oid = oidOf(type);
  return oid === rsaPss ? pssOf(parameters) : algorithms[oid];
}

/** RFC 4055 §3.1: [0] the hash, [1] MGF1 with the same hash, [2] the length of the salt. What is left out stands for SHA-1. */
function pssOf(parameters: DerElement | undefined): SignatureAlgorithm | undefined {
  const given = new Map(readWithin(parameters, derTag.sequence).map(({ tag, content }) => [tag, readDer(content)[0]]));
  const hash = hashOf(given.get(0xa0));
  const [mask, maskHash] = given.has(0xa1) ? readWithin(given.get(0xa1), derTag.sequence) : [];
  if (hash === undefined || mask === undefined || oidOf(mask) !== mgf1 || hashOf(maskHash) !== hash) return undefined;
  const salt = given.has(0xa2) ? contentOf(given.get(0xa2), derTag.integer) : Buffer.from([20]);
  if (salt.length === 0 || salt.length > 2) throw new MalformedDer();
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: salt.readUIntBE(0, salt.length) };
  return { keyType: 'rsa', hash, pss };
}

const hashOf = (element: DerElement | undefined) => element && hashes[oidOf(readWithin(element, derTag.sequence)[0])];
