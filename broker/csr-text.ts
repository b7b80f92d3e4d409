import { type DerElement, derTag, readDer, readWithin } from '../runtime/der.ts';

/**
 * Reads the text that a device sends as its CSR: PEM, or base64 of the DER. What is often lost or added on the way, and leaves no
 * doubt, is mended: line ends that are missing or written as `\\n`, text before the PEM block, NULs at the end, missing padding.
 * @returns the DER; or the reason for which it is none, as text
 */
export function decodeCsr(text: string): Buffer | string {
  // the lookbehind keeps it from beginning at each of thousands of NULs that are not at the end
  const unescaped = text.replace(/\\r|\\n/g, '\n').replace(/(?<!\0)\0+$/, '');
  const body = unescaped.includes('-----') ? bodyOfPem(unescaped) : { base64: unescaped };
  return typeof body === 'string' ? body : decodeBase64(body.base64);
}

const [begin, end] = [/-----BEGIN ([A-Z0-9 ]+)-----/g, /-----END ([A-Z0-9 ]+)-----/g];

/** RFC 7468 section 7: generators that follow old Netscape practice write NEW, and it means the same. */
const labels = ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'];

function bodyOfPem(text: string): { base64: string } | string {
  const [begins, ends] = [[...text.matchAll(begin)], [...text.matchAll(end)]];
  const [first, last] = [begins[0], ends[0]];
  const other = begins.map(([, label = '']) => label).find((label) => !labels.includes(label));
  if (other !== undefined) return otherLabel(other);
  if (first === undefined) return 'the CSR has no line -----BEGIN CERTIFICATE REQUEST-----';
  if (begins.length > 1) return `the CSR must be one PEM block; there are ${begins.length}`;
  if (last === undefined || last.index < first.index)
    return 'the CSR is cut off: it has no line -----END CERTIFICATE REQUEST-----';
  if (first[1] !== last[1]) return 'the BEGIN line and the END line of the CSR differ';
  if (text.slice(last.index + last[0].length).trim() !== '')
    return 'the CSR must be one PEM block, with nothing after its END line';
  return { base64: text.slice(first.index + first[0].length, last.index) };
}

function otherLabel(label: string): string {
  if (label.endsWith('PRIVATE KEY')) return privateKey;
  if (label.endsWith('CERTIFICATE')) return certificate;
  if (label.endsWith('PUBLIC KEY')) return publicKey;
  return 'the CSR has a PEM block of another type: send the CERTIFICATE REQUEST alone';
}

const privateKey =
  'this is a private key, which must never leave the device: make another one, and send a certificate request for it (PKCS#10)';
const certificate =
  'this is a certificate: send a certificate request (PKCS#10), and the gateway answers with the certificate';
const publicKey = 'this is a public key: send a certificate request (PKCS#10), which is signed with the private key';

function decodeBase64(text: string): Buffer | string {
  const base64 = text.replace(/[ \t\r\n]+/g, '');
  if (base64 === '') return 'the CSR is empty';
  if (/^[A-Za-z0-9_-]+=*$/.test(base64) && /[_-]/.test(base64))
    return 'the CSR is in base64url: write it in the standard alphabet, with + and /';
  const padded = base64.padEnd(Math.ceil(base64.length / 4) * 4, '=');
  const der = Buffer.from(padded, 'base64');
  // Buffer.from skips characters that are not base64; text that encodes back to itself had none (RFC 4648 section 3.5)
  if (der.toString('base64') !== padded)
    return 'the CSR is neither PEM nor valid base64 (standard alphabet, nothing else), or it is cut off';
  return lengthReason(der) ?? der;
}

function lengthReason(der: Buffer): string | undefined {
  const length = sequenceLength(der);
  if (length === undefined) return 'the CSR is not DER: PKCS#10 (RFC 2986) begins with a SEQUENCE';
  if (length > der.length) return `the CSR is cut off: its DER has ${length} bytes, and ${der.length} are there`;
  return length < der.length ? `the CSR has ${der.length - length} bytes after the end of its DER` : undefined;
}

/** How many bytes the DER SEQUENCE at the start takes (X.690 8.1.3), or undefined. 4,096 characters need no long lengths. */
function sequenceLength(der: Buffer): number | undefined {
  const [tag, first = 0, second = 0, third = 0] = der;
  if (tag !== 0x30) return undefined;
  if (first < 0x80) return 2 + first;
  if (first === 0x81) return 3 + second;
  if (first === 0x82) return 4 + second * 256 + third;
  return undefined;
}

/**
 * What often comes in place of a certificate request, by the tags of its parts, in hex. PKCS #8 (RFC 5958 §2), a key of SEC 1 (RFC 5915
 * §3), PKCS #1 and DSA (a version and numbers; RFC 8017 A.1.2), encrypted PKCS #8 (RFC 5958 §3); SubjectPublicKeyInfo (RFC 5280 §4.1), PKCS #1.
 */
const otherShapes: readonly (readonly [shape: RegExp, what: string])[] = [
  [/^2 30 4|^2 4|^(2 ){5,}2$|^30 4$/, privateKey],
  [/^30 3$|^2 2$/, publicKey],
];

/** Its first part begins with the version [0]; or, in version 1, has number, algorithm, issuer, validity, subject and key (RFC 5280 §4.1). */
const certificateInfo = /^a0 |^2( 30){5}/;

/**
 * Names what was sent in place of a certificate request (a private key, a certificate), in words; undefined for DER that is not often mistaken for
 * one. Only its shape is looked at. OpenSSL must not read a key of a stranger: for a private key of DSA or DH it computes the public one, which takes
 * three seconds for numbers that fit into one message, and all connections wait meanwhile.
 */
export function otherDer(der: Buffer): string | undefined {
  try {
    const [first, ...others] = readWithin(readDer(der)[0], derTag.sequence);
    const shape = tagsOf([first, ...others]);
    if (shape === '30 30 3')
      return certificateInfo.test(tagsOf(readWithin(first, derTag.sequence))) ? certificate : undefined;
    return otherShapes.find(([pattern]) => pattern.test(shape))?.[1];
  } catch {
    return undefined;
  }
}

const tagsOf = (elements: readonly (DerElement | undefined)[]) =>
  elements.flatMap((element) => element?.tag.toString(16) ?? []).join(' ');
