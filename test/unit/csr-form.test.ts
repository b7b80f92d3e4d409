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
function pss(hashOid: string, maskHashOid: string, saltLength: number): Buffer {
  const hash = (hex: string) => writeDer(derTag.sequence, oid(hex), nothing);
  return writeDer(
    derTag.sequence,
    oid('2a864886f70d01010a'),
    writeDer(
      derTag.sequence,
      writeDer(0xa0, hash(hashOid)),
      writeDer(0xa1, writeDer(derTag.sequence, oid('2a864886f70d010108'), hash(maskHashOid))),
      writeDer(0xa2, writeDer(derTag.integer, Buffer.from([saltLength]))),
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
