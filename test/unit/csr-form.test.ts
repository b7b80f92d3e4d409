import { constants, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkCsr } from '../../broker/csr.ts';
import { derTag, readDer, writeDer } from '../../runtime/der.ts';
import { newP256Pair } from '../../runtime/p256.ts';
import { Pkcs10CertificateRequest } from '../../runtime/x509.ts';
import { makeEcKey, ownerTagOf } from '../../worker/ec-key.ts';

const derOf = (pem: string) => Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64');
const oid = (hex: string) => writeDer(derTag.oid, Buffer.from(hex, 'hex'));
const nothing = writeDer(derTag.null);
const check = (der: Buffer) => checkCsr(der.toString('base64'));

const pair = newP256Pair();
const named = (value: Buffer) => writeDer(derTag.set, writeDer(derTag.sequence, oid('550403'), value));
const name = (text: string) => named(writeDer(derTag.utf8String, Buffer.from(text)));
const [version, subject, noAttributes] = [
  writeDer(derTag.integer, Buffer.from([0])),
  writeDer(derTag.sequence, name('S')),
  writeDer(0xa0),
];
const infoOf = (...parts: Buffer[]) => writeDer(derTag.sequence, ...parts);
const ecdsa = writeDer(derTag.sequence, oid('2a8648ce3d040302'));
const requestOf = (info: Buffer, by: (info: Buffer) => Buffer = byEc, algorithm = ecdsa, unused = 0) =>
  writeDer(derTag.sequence, info, algorithm, writeDer(derTag.bitString, Buffer.from([unused]), by(info)));
const byEc = (info: Buffer) => sign('sha256', info, pair.privateKey);
const usual = infoOf(version, subject, pair.spki, noAttributes);

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const rsaInfo = infoOf(version, subject, rsa.publicKey.export({ format: 'der', type: 'spki' }), noAttributes);

/** RSASSA-PSS-params (RFC 4055 §3.1) */
function pss(hashOid: string, maskHashOid: string, saltLength: number, ...more: Buffer[]): Buffer {
  const hash = (hex: string) => writeDer(derTag.sequence, oid(hex), nothing);
  return writeDer(
    derTag.sequence,
    oid('2a864886f70d01010a'),
    writeDer(
      derTag.sequence,
      writeDer(0xa0, hash(hashOid)),
      writeDer(0xa1, writeDer(derTag.sequence, oid('2a864886f70d010108'), hash(maskHashOid))),
      writeDer(0xa2, writeDer(derTag.integer, Buffer.from([saltLength]))),
      ...more,
    ),
  );
}
const [sha256, sha384] = ['608648016503040201', '608648016503040202'];
const byPss = (saltLength: number) => (info: Buffer) =>
  sign('sha256', info, { key: rsa.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });

describe('the form of a CSR', () => {
  it.each<[string, Buffer]>([
    ['with attributes', requestOf(infoOf(version, subject, pair.spki, writeDer(0xa0, attribute(nothing))))],
    ['that leaves the attributes out', requestOf(infoOf(version, subject, pair.spki))],
    ['with no subject', requestOf(infoOf(version, writeDer(derTag.sequence), pair.spki, noAttributes))],
    [
      'whose lengths are longer than they must be',
      requestOf(infoOf(version, longer(subject), pair.spki, noAttributes)),
    ],
    [
      'with values of many types',
      withAttribute('0101ff0201800a0100030200ff0500060355040304001e0200410c02c3a913003000'),
    ],
    [
      'signed with RSASSA-PSS that names the trailer',
      requestOf(rsaInfo, byPss(32), pss(sha256, sha256, 32, part(0xa3, '020101'))),
    ],
    ['signed with RSASSA-PSS', requestOf(rsaInfo, byPss(32), pss(sha256, sha256, 32))],
    ['signed with RSASSA-PSS and a long salt', requestOf(rsaInfo, byPss(100), pss(sha256, sha256, 100))],
  ])('is taken %s', (_what, der) => expect(check(der)).toMatchObject({ ok: true }));

  it.each<[string, Buffer]>([
    ['with bytes after the request', Buffer.concat([requestOf(usual), nothing])],
    [
      'with a fourth part',
      writeDer(derTag.sequence, ...readDer(requestOf(usual)).map(({ content }) => content), nothing),
    ],
    ['with a part after the attributes', requestOf(infoOf(version, subject, pair.spki, noAttributes, nothing))],
    ['with no version', requestOf(infoOf(subject, pair.spki, noAttributes))],
    ['with no key', requestOf(infoOf(version, subject, noAttributes))],
    ['whose name has no type', requestOf(infoOf(version, writeDer(derTag.sequence, nothing), pair.spki, noAttributes))],
    [
      'whose name is no text',
      requestOf(infoOf(version, writeDer(derTag.sequence, named(writeDer(0xa0, name('S')))), pair.spki, noAttributes)),
    ],
    ['whose attribute has no set of values', requestOf(infoOf(version, subject, pair.spki, writeDer(0xa0, nothing)))],
    ['whose signature has unused bits', requestOf(usual, byEc, ecdsa, 4)],
    [
      'with an RSA signature by an EC key',
      requestOf(usual, byEc, writeDer(derTag.sequence, oid('2a864886f70d01010b'), nothing)),
    ],
    ['with a salt of another length', requestOf(rsaInfo, byPss(32), pss(sha256, sha256, 20))],
    ['whose mask has another hash', requestOf(rsaInfo, byPss(32), pss(sha256, sha384, 32))],
    ['with the point at infinity', withKey('2a8648ce3d0201', part(6, '2a8648ce3d030107'), '00')],
    ['with no point', withKey('2a8648ce3d0201', part(6, '2a8648ce3d030107'), '')],
    ['with a curve that is spelled out', withKey('2a8648ce3d0201', part(0x30, '020101'), '04')],
    ['with an unknown curve', withKey('2a8648ce3d0201', part(6, '2a03'), '04')],
    ['with an RSA key that is empty', withKey('2a864886f70d010101', nothing, '3000')],
    ['with an RSA key of nothing', withKey('2a864886f70d010101', nothing, '300402000200')],
    ['with a key of an unknown type', withKey('2a03', nothing, '00')],
    ['with an empty version', requestOf(infoOf(writeDer(derTag.integer), subject, pair.spki, noAttributes))],
    ['with a padded version', requestOf(infoOf(writeDer(derTag.integer, zeros(2)), subject, pair.spki, noAttributes))],
    ['whose name is not UTF-8', requestOf(infoOf(version, subjectOf(0x0c, 'c328'), pair.spki, noAttributes))],
    ['whose name has half a pair', requestOf(infoOf(version, subjectOf(0x1e, 'd800'), pair.spki, noAttributes))],
    ['whose name is in pieces', requestOf(infoOf(version, subjectOf(0x2c, '0c0141'), pair.spki, noAttributes))],
    ['with an attribute that is a long NULL', withAttribute('050100')],
    ['with an attribute that is an empty BOOLEAN', withAttribute('0100')],
    ['with an attribute that is an empty INTEGER', withAttribute('0200')],
    ['with an attribute that is a padded negative INTEGER', withAttribute('0202ff80')],
    ['with an attribute that is an empty BIT STRING', withAttribute('0300')],
    ['with an attribute that has nine unused bits', withAttribute('030209ff')],
    ['with an attribute whose type is padded', withAttribute('06025580')],
    ['with an attribute whose type begins with zeros', withAttribute('06028001')],
    ['with an attribute that is a cut character', withAttribute('1c03000000')],
    ['with a SEQUENCE that is in no parts', withAttribute('1000')],
    [
      'with an empty part that has a long length',
      requestOf(infoOf(version, subject, pair.spki, Buffer.from('a08100', 'hex'))),
    ],
    ['with another trailer', requestOf(rsaInfo, byPss(32), pss(sha256, sha256, 32, part(0xa3, '020102')))],
    ['with two lengths of the salt', requestOf(rsaInfo, byPss(32), pss(sha256, sha256, 20, part(0xa2, '020120')))],
    ['with two values in one part', requestOf(rsaInfo, byPss(32), pss(sha256, sha256, 32, part(0xa3, '020101020101')))],
    [
      'with an algorithm of three parts',
      requestOf(usual, byEc, writeDer(derTag.sequence, oid('2a8648ce3d040302'), nothing, nothing)),
    ],
    ['with a key in compressed form', requestOf(infoOf(version, subject, compressed(pair.spki), noAttributes))],
  ])('is refused %s', (_what, der) => expect(check(der)).toMatchObject({ ok: false, problem: { code: 'InvalidCsr' } }));

  it('takes nothing that a library for certificates would not take, whatever bytes are changed before it is signed', async () => {
    const info = Buffer.from(readDer(derOf(makeEcKey('S', ownerTagOf('t')).csrPem))[0]?.content ?? []);
    const own = readDer(info)[0]?.whole ?? Buffer.alloc(0);
    const start = own.indexOf(Buffer.from('3059', 'hex'));
    const withKey = Buffer.concat([own.subarray(0, start), pair.spki, own.subarray(start + pair.spki.length)]);
    const change = fc.tuple(fc.nat(withKey.length - 1), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 3 }), async (changes) => {
        const changed = Buffer.from(withKey);
        for (const [index, value] of changes) changed[index] = value;
        const der = requestOf(changed);
        const checked = check(der);
        if (checked.ok) expect(await libraryTakes(der, pair.spki)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});

/** @param key in hex */
function withKey(type: string, parameters: Buffer, key: string): Buffer {
  const bits = writeDer(derTag.bitString, Buffer.from([0]), Buffer.from(key, 'hex'));
  const spki = writeDer(derTag.sequence, writeDer(derTag.sequence, oid(type), parameters), bits);
  return requestOf(infoOf(version, subject, spki, noAttributes));
}

function zeros(length: number): Buffer {
  return Buffer.alloc(length);
}

function part(tag: number, content: string): Buffer {
  return writeDer(tag, Buffer.from(content, 'hex'));
}

function subjectOf(tag: number, value: string): Buffer {
  return writeDer(derTag.sequence, named(part(tag, value)));
}

/** @param values in hex: what the SET of an attribute holds */
function withAttribute(values: string): Buffer {
  return requestOf(infoOf(version, subject, pair.spki, writeDer(0xa0, attribute(Buffer.from(values, 'hex')))));
}

function attribute(value: Buffer): Buffer {
  return writeDer(derTag.sequence, oid('2a864886f70d01090e'), writeDer(derTag.set, value));
}

/** The same element with its length in two bytes, as encoders write it that do not know the length beforehand. */
function longer(element: Buffer): Buffer {
  const [{ tag = 0, content = Buffer.alloc(0) } = {}] = readDer(element);
  return Buffer.concat([Buffer.from([tag, 0x82, content.length >> 8, content.length & 0xff]), content]);
}

function compressed(spki: Buffer): Buffer {
  const point = spki.subarray(-65);
  const form = Buffer.concat([Buffer.from([0, 2 + ((point.at(-1) ?? 0) & 1)]), point.subarray(1, 33)]);
  return writeDer(derTag.sequence, readDer(readDer(spki)[0]?.content ?? spki)[0]?.whole ?? spki, writeDer(3, form));
}

async function libraryTakes(der: Buffer, spki: Buffer): Promise<boolean> {
  const csr = new Pkcs10CertificateRequest(der);
  const key: KeyObject = createPublicKey({ key: Buffer.from(csr.publicKey.rawData), format: 'der', type: 'spki' });
  return (await csr.verify()) && key.export({ format: 'der', type: 'spki' }).equals(spki);
}
