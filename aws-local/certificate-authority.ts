import {
  createHash,
  createPrivateKey,
  createPublicKey,
  X509Certificate as NodeCertificate,
  randomBytes,
  webcrypto,
} from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  type Pkcs10CertificateRequest as Csr,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  type PublicKeyType,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '../runtime/x509.ts';
import { refuse } from './errors.ts';
import type { RsaPair } from './key-pool.ts';

const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
const day = 86_400_000;

export type Issued = { certificateId: string; certificatePem: string };

/** The stand-in's "Amazon": one RSA root that signs device certificates and the data plane's server certificate. */
export async function openAuthority(folder: string, makePair: () => Promise<RsaPair>) {
  if (!existsSync(join(folder, 'root-ca.pem'))) await make(folder, await makePair());
  const { pem, key } = await load(folder);
  const root = new X509Certificate(pem);

  async function sign(
    subject: string,
    publicKey: PublicKeyType,
    notAfter: Date,
    extensions: Extension[],
  ): Promise<Issued> {
    const certificate = await X509CertificateGenerator.create({
      serialNumber: serialNumber(),
      subject,
      issuer: root.subject,
      // starts a day ago: such devices often have a wrong clock
      notBefore: new Date(Date.now() - day),
      notAfter,
      publicKey,
      signingKey: key,
      signingAlgorithm: rsa,
      extensions: [
        await AuthorityKeyIdentifierExtension.create(root),
        await SubjectKeyIdentifierExtension.create(publicKey),
        ...extensions,
      ],
    });
    return {
      certificateId: createHash('sha256').update(Buffer.from(certificate.rawData)).digest('hex'),
      certificatePem: `${certificate.toString('pem')}\n`,
    };
  }

  const device = (subject: string, publicKey: PublicKeyType) =>
    // AWS's device certificates end with the year 2049
    sign(subject, publicKey, new Date('2049-12-31T23:59:59Z'), [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    ]);

  return {
    rootPem: pem,
    rootFile: join(folder, 'root-ca.pem'),
    /** Certifies a key pair that "AWS" made. @param spki PEM */
    certifyKey: (spki: string) => device('CN=AWS IoT Certificate', spkiOf(spki)),
    /** Certifies a CSR; AWS keeps its subject. @throws InvalidRequestException */
    async certifyCsr(pem: string): Promise<Issued> {
      const csr = await readCsr(pem);
      return device(csr.subject === '' ? 'CN=AWS IoT Certificate' : csr.subject, csr.publicKey);
    },
    async serverCertificate(names: readonly string[]): Promise<{ key: string; cert: string }> {
      const pair = await makePair();
      const san = new SubjectAlternativeNameExtension(
        [...new Set([...names, 'localhost', hostname()])]
          .map((value) => ({ type: 'dns', value }))
          .concat([
            { type: 'ip', value: '127.0.0.1' },
            { type: 'ip', value: '::1' },
          ]) as ConstructorParameters<typeof SubjectAlternativeNameExtension>[0],
      );
      const { certificatePem } = await sign(
        `CN=${names[0] ?? 'localhost'}`,
        spkiOf(pair.publicKey),
        new Date(Date.now() + 825 * day),
        [san, new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth])],
      );
      return { key: pair.privateKey, cert: certificatePem };
    },
  };
}

export type Authority = Awaited<ReturnType<typeof openAuthority>>;

async function make(folder: string, { publicKey, privateKey }: RsaPair) {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const name = 'CN=AWS IoT stand-in Root CA,O=local,C=US';
  const spki = spkiOf(publicKey);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: name,
    issuer: name,
    notBefore: new Date(Date.now() - day),
    notAfter: new Date(Date.now() + 20 * 365 * day),
    publicKey: spki,
    signingKey: await signingKeyOf(privateKey),
    signingAlgorithm: rsa,
    extensions: [
      new BasicConstraintsExtension(true, 1, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(spki),
    ],
  });
  writeFileSync(join(folder, 'root-ca.key'), privateKey, { mode: 0o600 });
  // the certificate is written last: if it exists, both exist
  writeFileSync(join(folder, 'root-ca.pem'), `${certificate.toString('pem')}\n`, { mode: 0o644 });
}

async function load(folder: string) {
  try {
    return {
      pem: new NodeCertificate(readFileSync(join(folder, 'root-ca.pem'))).toString(),
      key: await signingKeyOf(readFileSync(join(folder, 'root-ca.key'), 'utf8')),
    };
  } catch (cause) {
    throw new Error(
      `the root CA of the AWS stand-in in ${folder} cannot be read: remove that folder, and with it all that the stand-in knows`,
      { cause },
    );
  }
}

/** @see https://docs.aws.amazon.com/iot/latest/apireference/API_CreateCertificateFromCsr.html RSA ≥ 2048, P-256, P-384 or P-521 */
async function readCsr(pem: string): Promise<Csr> {
  const csr = understood(() => new Pkcs10CertificateRequest(pem));
  const spki = Buffer.from(csr.publicKey.rawData);
  const key = understood(() => createPublicKey({ key: spki, format: 'der', type: 'spki' }));
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  const strong =
    key.asymmetricKeyType === 'rsa'
      ? modulusLength >= 2048
      : ['prime256v1', 'secp384r1', 'secp521r1'].includes(namedCurve);
  if (!strong) refuse('InvalidRequestException', 'The certificate signing request has an unsupported key');
  if (!(await csr.verify().catch(() => false)))
    refuse('InvalidRequestException', 'The signature of the certificate signing request is not valid');
  return csr;
}

function understood<T>(read: () => T): T {
  try {
    return read();
  } catch {
    return refuse('InvalidRequestException', 'The certificate signing request cannot be parsed');
  }
}

/** 20 bytes at most, positive (RFC 5280 §4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function spkiOf(pem: string): Buffer {
  return createPublicKey(pem).export({ format: 'der', type: 'spki' });
}

async function signingKeyOf(pem: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' });
  return webcrypto.subtle.importKey('pkcs8', der, rsa, false, ['sign']);
}
