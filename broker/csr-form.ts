import { constants } from 'node:crypto';
import { contentOf, type DerElement, derTag, MalformedDer, readDer, readWithin } from '../runtime/der.ts';
import { checkValue, isOid } from '../runtime/der-value.ts';

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
 * Reads the structure. The values of names and attributes decide nothing, since the certificate is for the serial; they only must be values.
 * @throws MalformedDer where the bytes are no certification request
 */
export function readCsrForm(der: Buffer): CsrForm {
  const [request, ...behind] = readDer(der);
  const [info, algorithm, signature, ...more] = readWithin(request, derTag.sequence);
  const [version, subject, spki, attributes, ...others] = readWithin(info, derTag.sequence);
  if (behind.length + more.length + others.length > 0) throw new MalformedDer();
  numberOf(version);
  for (const names of readWithin(subject, derTag.sequence))
    for (const name of readWithin(names, derTag.set)) checkString(readTyped(name));
  readWithin(spki, derTag.sequence);
  // [0]: required by the RFC, and left out by some firmware that has none
  if (attributes !== undefined)
    for (const attribute of readWithin(attributes, 0xa0))
      for (const value of readWithin(readTyped(attribute), derTag.set)) checkValue(value);
  return {
    info: (info as DerElement).whole,
    spki: (spki as DerElement).whole,
    algorithm: algorithmOf(algorithm),
    signature: bitsOf(signature),
  };
}

/** Of the kinds that X.520 has for names: UTF8, Numeric, Printable, Teletex, IA5 and BMP string (X.680 §8.4). */
function checkString(element: DerElement): void {
  if (![0x0c, 0x12, 0x13, 0x14, 0x16, 0x1e].includes(element.tag)) throw new MalformedDer();
  checkValue(element);
}

/** The bytes of a whole number. */
function numberOf(element: DerElement | undefined): Buffer {
  const content = contentOf(element, derTag.integer);
  checkValue(element as DerElement);
  return content;
}

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

/** In hex. */
function oidOf(element: DerElement | undefined): string {
  const content = contentOf(element, derTag.oid);
  if (!isOid(content)) throw new MalformedDer();
  return content.toString('hex');
}

/** An AlgorithmIdentifier (RFC 5280 §4.1.1.2). */
function readAlgorithm(element: DerElement | undefined): { oid: string; parameters: DerElement | undefined } {
  const [type, parameters, ...more] = readWithin(element, derTag.sequence);
  if (more.length > 0) throw new MalformedDer();
  if (parameters !== undefined) checkValue(parameters);
  return { oid: oidOf(type), parameters };
}

function algorithmOf(element: DerElement | undefined): SignatureAlgorithm | undefined {
  const { oid, parameters } = readAlgorithm(element);
  return oid === rsaPss ? pssOf(parameters) : algorithms[oid];
}

/**
 * RFC 4055 §3.1: [0] the hash, [1] MGF1 with the same hash, [2] the length of the salt, [3] the trailer, of which there is one. What is left out
 * stands for SHA-1, and for 1.
 */
function pssOf(parameters: DerElement | undefined): SignatureAlgorithm | undefined {
  const { hash: hashId, mask, salt, trailer } = readPss(parameters);
  const hash = hashOf(hashId);
  const mgf = mask && readAlgorithm(mask);
  if (hash === undefined || mgf?.oid !== mgf1 || hashOf(mgf.parameters) !== hash) return undefined;
  if (trailer !== undefined && !numberOf(trailer).equals(Buffer.from([1]))) return undefined;
  const length = salt === undefined ? Buffer.from([20]) : numberOf(salt);
  // a negative one begins with a bit that is set
  if (length.length > 2 || (length[0] ?? 0) >= 0x80) throw new MalformedDer();
  const saltLength = length.readUIntBE(0, length.length);
  return { keyType: 'rsa', hash, pss: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength } };
}

/** Each at most once and in this order, with one value in it. */
function readPss(parameters: DerElement | undefined) {
  const given = new Map<number, DerElement>();
  let latest = 0;
  for (const { tag, content } of readWithin(parameters, derTag.sequence)) {
    const [value, ...more] = readDer(content);
    if (tag <= latest || tag < 0xa0 || tag > 0xa3 || value === undefined || more.length > 0) throw new MalformedDer();
    given.set(tag, value);
    latest = tag;
  }
  return { hash: given.get(0xa0), mask: given.get(0xa1), salt: given.get(0xa2), trailer: given.get(0xa3) };
}

const hashOf = (element: DerElement | undefined) => element && hashes[readAlgorithm(element).oid];
