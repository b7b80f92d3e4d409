import { createSign, generateKeyPairSync, randomBytes, sign, webcrypto, X509Certificate } from 'node:crypto';
import {
  DescribeCertificateCommand,
  DescribeThingCommand,
  GetPolicyCommand,
  ListAttachedPoliciesCommand,
  ListThingPrincipalsCommand,
} from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  X509Certificate as ParsedCertificate,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from '../../runtime/x509.ts';
import { makeEcKey, ownerTagOf } from '../../worker/ec-key.ts';
import { sweep } from '../../worker/sweep.ts';
import { connectDevice, type TestDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

/** A DER element (X.690 §8.1). */
function der(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content);
  const { length } = body;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}
const oid = (hex: string) => der(6, Buffer.from(hex, 'hex'));
const nothing = der(5);
const [rsaSha256, rsaSha1, ecSha256] = ['2a864886f70d01010b', '2a864886f70d010105', '2a8648ce3d040302'];
const name = (text: Buffer, tag = 0x0c) => der(0x30, der(0x31, der(0x30, oid('550403'), der(tag, text))));

type Parts = { subject?: Buffer; spki: Buffer; attributes?: Buffer; version?: number };

/** A certification request (RFC 2986 §4.2) that `by` signs, well-formed or not. */
function csr(parts: Parts, algorithm: string, by: (info: Buffer) => Buffer): string {
  const { subject = name(Buffer.from('x')), spki, attributes = der(0xa0), version = 0 } = parts;
  const info = der(0x30, der(2, Buffer.from([version])), subject, spki, attributes);
  const parameters = algorithm === ecSha256 ? [] : [nothing];
  return der(0x30, info, der(0x30, oid(algorithm), ...parameters), der(3, Buffer.from([0]), by(info))).toString(
    'base64',
  );
}

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ecSpki = ec.publicKey.export({ format: 'der', type: 'spki' });
const byEc = (info: Buffer) => sign('sha256', info, ec.privateKey);
const rsaOf = (modulusLength: number, publicExponent = 65537) => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength, publicExponent });
  return {
    publicKey,
    spki: publicKey.export({ format: 'der', type: 'spki' }),
    by: (hash: string) => (info: Buffer) => createSign(hash).update(info).sign(privateKey),
  };
};
const [rsa1024, rsa3] = [rsaOf(1024), rsaOf(2048, 3)];
const rsa2048 = rsaOf(2048);
const ed = generateKeyPairSync('ed25519');
const k1 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
const otherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spkiOf = (key: typeof ec.publicKey) => key.export({ format: 'der', type: 'spki' });
/** A point that is not on the curve. */
const offCurve = Buffer.concat([ecSpki.subarray(0, -64), Buffer.alloc(64, 1)]);
/** Which SEC 1 §2.3.3 writes as one zero. */
const infinity = der(0x30, der(0x30, oid('2a8648ce3d0201'), oid('2a8648ce3d030107')), der(3, Buffer.from([0, 0])));
const deep = (() => {
  let nested = der(4, Buffer.from('x'));
  while (nested.length < 3000) nested = der(0x30, nested);
  return nested;
})();

/** The same RSA key, in other encodings that OpenSSL reads: each would have a digest of its own. */
const reencoded = (() => {
  const { n = '', e = '' } = rsa2048.publicKey.export({ format: 'jwk' });
  const [modulus, exponent] = [Buffer.from(n, 'base64url'), Buffer.from(e, 'base64url')];
  const zero = Buffer.from([0]);
  const key = der(0x30, der(2, zero, modulus), der(2, exponent));
  const spki = (algorithm: Buffer[], bits: Buffer[]) => der(0x30, der(0x30, ...algorithm), der(3, zero, ...bits));
  const rsaEncryption = oid('2a864886f70d010101');
  return {
    'no parameters': spki([rsaEncryption], [key]),
    'the algorithm by its X.509 name': spki([oid('55080101'), nothing], [key]),
    'a modulus with another zero': spki(
      [rsaEncryption, nothing],
      [der(0x30, der(2, zero, zero, modulus), der(2, exponent))],
    ),
    'an exponent with another zero': spki(
      [rsaEncryption, nothing],
      [der(0x30, der(2, zero, modulus), der(2, zero, exponent))],
    ),
  };
})();

const hostile: [string, string][] = [
  ...Object.entries(reencoded).map(([what, spki]): [string, string] => [
    `an RSA key with ${what}`,
    csr({ spki }, rsaSha256, rsa2048.by('sha256')),
  ]),
  ['an RSA key of 1024 bits', csr({ spki: rsa1024.spki }, rsaSha256, rsa1024.by('sha256'))],
  ['the exponent 3', csr({ spki: rsa3.spki }, rsaSha256, rsa3.by('sha256'))],
  ['a SHA-1 signature', csr({ spki: rsa2048.spki }, rsaSha1, rsa2048.by('sha1'))],
  ['the signature of another key', csr({ spki: spkiOf(otherKey.publicKey) }, ecSha256, byEc)],
  ['a signature of noise', csr({ spki: ecSpki }, ecSha256, () => randomBytes(70))],
  ['a signature algorithm that is not its own', csr({ spki: ecSpki }, rsaSha256, byEc)],
  [
    'a curve that AWS does not know',
    csr({ spki: spkiOf(k1.publicKey) }, ecSha256, (info) => sign('sha256', info, k1.privateKey)),
  ],
  ['an Ed25519 key', csr({ spki: spkiOf(ed.publicKey) }, '2b6570', (info) => sign(null, info, ed.privateKey))],
  ['a point that is not on the curve', csr({ spki: offCurve }, ecSha256, byEc)],
  // Node.js ends the process when it is asked for the details of this key
  ['the point at infinity', csr({ spki: infinity }, ecSha256, byEc)],
  [
    'text that is not UTF-8 in its subject',
    csr({ subject: name(Buffer.from('ff00fe', 'hex')), spki: ecSpki }, ecSha256, byEc),
  ],
  ['a public key that is none', csr({ spki: der(0x30, nothing) }, ecSha256, byEc)],
  ['thousands of nested elements', csr({ spki: ecSpki, attributes: der(0xa0, deep) }, ecSha256, byEc)],
  ['a length that is longer than it is', Buffer.from('3082ffff02010030', 'hex').toString('base64')],
  ['an indefinite length', Buffer.from('30800201000000', 'hex').toString('base64')],
  ['a certificate request cut in the middle', csr({ spki: ecSpki }, ecSha256, byEc).slice(0, 100)],
  ['PEM of something else', '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----'],
  ['a private key', ec.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()],
];

describe.skipIf(lacks('redis-server'))('a hostile CSR', () => {
  let gateway: Gateway;
  let device: TestDevice;
  beforeAll(async () => {
    // each refused CSR counts as an attempt of this address
    gateway = await startGateway({ tokenAttempts: { wrongPerAddress: 100 } });
  });
  afterAll(() => gateway?.close());
  const ask = async (serial: string, request: object) => {
    device = await connectDevice(gateway.broker);
    await device.client.publishAsync(requestTopic(serial), JSON.stringify(request), { qos: 1 });
    const reply = await device.next();
    await device.client.endAsync(true);
    return reply;
  };

  it.each(hostile)('with %s never reaches AWS', async (_what, text) => {
    const { serial, token } = await gateway.enrol(`csr-${hostile.findIndex(([, given]) => given === text)}`);
    expect(await ask(serial, { token, csr: text })).toMatchObject({ status: 'rejected', errorCode: 'InvalidCsr' });
    expect(await gateway.registry.find(serial)).toMatchObject({ attempt: 0, state: 'enrolled' });
  });

  it.each([
    ['the name of another thing, of a policy, of all topics', name(Buffer.from('${iot:ClientId}/#+*"}]'))],
    ['control characters and line breaks', name(Buffer.from('a\u0000b\r\nforged log line'))],
  ])('whose subject is %s gives a certificate for the serial, and nothing of it elsewhere', async (_what, subject) => {
    const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { serial, token } = await gateway.enrol(`subject-${randomBytes(4).toString('hex')}`);
    const text = csr({ subject, spki: spkiOf(own.publicKey) }, ecSha256, (info) =>
      sign('sha256', info, own.privateKey),
    );
    const reply = await ask(serial, { token, csr: text });
    expect(reply).toMatchObject({ status: 'accepted', thingName: serial });
    expect(gateway.logText()).not.toContain('forged log line');
    expect(gateway.logText()).not.toContain('iot:ClientId');
  });

  it('that asks to be a CA, to sign, and for other names gets a certificate without any of these', async () => {
    const { serial, token } = await gateway.enrol('csr-wants-more');
    const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
    const request = await Pkcs10CertificateRequestGenerator.create({
      name: 'CN=*,O=evil-organization',
      keys,
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      extensions: [
        new BasicConstraintsExtension(true, 7, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        new SubjectAlternativeNameExtension([{ type: 'dns', value: 'evil-name.example' }]),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      ],
    });
    const csrPem = request.toString('pem');
    // the request does ask for these
    for (const wanted of ['evil-organization', 'evil-name.example'])
      expect(Buffer.from(request.rawData).includes(wanted)).toBe(true);
    const policyBefore = await gateway.iot.send(new GetPolicyCommand({ policyName: 'cvm-device' }));
    const reply = await ask(serial, { token, csr: csrPem });
    expect(reply).toMatchObject({ status: 'accepted', thingName: serial });

    const certificate = new X509Certificate(reply.certificatePem ?? '');
    expect([certificate.ca, certificate.subjectAltName, certificate.keyUsage]).toEqual([false, undefined, undefined]);
    const { extensions } = new ParsedCertificate(certificate.raw);
    const usage = extensions.find((each) => each instanceof KeyUsagesExtension)?.usages ?? 0;
    expect(usage & (KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign)).toBe(0);
    expect(certificate.raw.includes('evil-name')).toBe(false);
    // AWS keeps the key and the subject; no decision may rest on the subject
    const spki = Buffer.from(request.publicKey.rawData);
    expect(certificate.publicKey.export({ format: 'der', type: 'spki' }).equals(spki)).toBe(true);

    const { principals = [] } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: serial }));
    expect(principals).toEqual([expect.stringContaining(reply.certificateId ?? '-')]);
    const { attributes } = await gateway.iot.send(new DescribeThingCommand({ thingName: serial }));
    expect(attributes).toEqual({});
    const { policies } = await gateway.iot.send(new ListAttachedPoliciesCommand({ target: principals[0] }));
    expect(policies?.map(({ policyName }) => policyName)).toEqual(['cvm-device']);
    expect(await gateway.iot.send(new GetPolicyCommand({ policyName: 'cvm-device' }))).toMatchObject({
      policyDocument: policyBefore.policyDocument,
    });
    const row = JSON.stringify(await gateway.registry.find(serial));
    const body = Buffer.from(request.rawData).toString('base64');
    for (const place of [gateway.logText(), row])
      for (const trace of ['evil', body.slice(0, 60), body.slice(60, 120)]) expect(place).not.toContain(trace);
  });

  it.each([
    [
      'the owner tag of the gateway and the serial of another device',
      [{ O: ['cvm-gateway'] }, { OU: ['cvm-devices'] }, { CN: ['csr-good'] }],
    ],
    ['the subject of what AWS makes', [{ CN: ['AWS IoT Certificate'] }]],
  ])('whose subject is %s is not taken for that by the sweeper', async (_what, subject) => {
    const { serial, token } = await gateway.enrol(`csr-disguised-${randomBytes(4).toString('hex')}`);
    const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
    const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' };
    const request = await Pkcs10CertificateRequestGenerator.create({ name: subject, keys, signingAlgorithm });
    const { certificateId } = await ask(serial, { token, csr: request.toString('pem') });
    const findings: unknown[] = [];
    await sweep({
      registry: gateway.asOperator.registry,
      issuer: gateway.issuer,
      ownerTag: ownerTagOf('cvm-devices'),
      table: 'cvm-devices',
      replayWindowMs: 0,
      graceMs: 900_000,
      dryRun: false,
      now: () => Date.now() + 3_600_000,
      report: (finding) => findings.push(finding),
    });
    expect(findings).not.toContainEqual(expect.objectContaining({ certificateId }));
    const { certificateDescription } = await gateway.iot.send(
      new DescribeCertificateCommand({ certificateId: certificateId ?? '' }),
    );
    expect(certificateDescription?.status).toBe('ACTIVE');
    expect(await gateway.registry.find(serial)).toMatchObject({ certificateId, state: 'registered' });
  });

  it('that is well-formed is accepted, so the refusals above have the reasons that they state', async () => {
    const { serial, token } = await gateway.enrol('csr-good');
    expect(await ask(serial, { token, csr: csr({ spki: ecSpki }, ecSha256, byEc) })).toMatchObject({
      status: 'accepted',
    });
    const made = await makeEcKey('csr-good-2', { organization: 'x', unit: 'y' } as never);
    const second = await gateway.enrol('csr-good-2');
    expect(await ask('csr-good-2', { token: second.token, csr: made.csrPem })).toMatchObject({ status: 'accepted' });
  });
});
