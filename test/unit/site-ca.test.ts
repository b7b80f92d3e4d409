import { execFileSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, type KeyObject, webcrypto, X509Certificate } from 'node:crypto';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '../../runtime/x509.ts';
import { signServer } from '../../site-tls/certificates.ts';
import { loadGateway, noteApproved } from '../../site-tls/gateway-key.ts';
import { tlsFilesIn } from '../../site-tls/material.ts';
import { beginRotation, cancelRotation, finishRotation } from '../../site-tls/rotation.ts';
import { loadTlsMaterial, readTlsMaterial, renewTlsMaterial } from '../../site-tls/site-ca.ts';

describe('the site CA', () => {
  let dataDir: string;
  const load = (change: object = {}) =>
    loadTlsMaterial({ dataDir, hostnames: ['gateway.example', '10.1.2.3'], machineName: 'box', ...change });
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-ca-'));
  });
  afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

  it('is made at first start, with keys that only the owner reads', async () => {
    const tls = await load();
    expect(tls.origin).toBe('new');
    for (const key of ['site-ca.key', 'server.key'])
      expect(statSync(join(dataDir, 'tls', key)).mode & 0o777).toBe(0o600);
    expect(statSync(join(dataDir, 'tls')).mode & 0o777).toBe(0o700);
  });

  it('signs a server certificate for all names and addresses of the machine, which openssl verifies', async () => {
    const tls = await load();
    const certificate = new X509Certificate(tls.cert);
    for (const name of ['gateway.example', 'box', 'localhost']) expect(certificate.checkHost(name)).toBeDefined();
    for (const address of ['10.1.2.3', '127.0.0.1', '::1']) expect(certificate.checkIP(address)).toBeDefined();
    expect(
      execFileSync('openssl', [
        'verify',
        '-x509_strict',
        '-purpose',
        'sslserver',
        '-CAfile',
        tls.caFile ?? '',
        join(dataDir, 'tls', 'server.crt'),
      ]).toString(),
    ).toContain('OK');
    expect(certificate.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
  });

  it('signs for at most 825 days, which Apple allows, counted from its beginning', async () => {
    const { validFrom, validTo } = new X509Certificate((await load()).cert);
    expect((Date.parse(validTo) - Date.parse(validFrom)) / 86_400_000).toBe(825);
  });

  it('names every address of the machine, however many, and keeps that certificate', async () => {
    const hostnames = Array.from({ length: 150 }, (_, index) => `10.9.1.${index}`);
    const [first, ...rest] = hostnames;
    await load({ hostnames });
    // one address changes
    const changed = ['10.9.2.1', ...rest];
    const { fingerprint, cert } = await load({ hostnames: changed });
    for (const address of changed) expect(new X509Certificate(cert).checkIP(address)).toBeDefined();
    expect((await load({ hostnames: changed })).fingerprint).toBe(fingerprint);
    expect(first).toBe('10.9.1.0');
  });

  it('prints the pin that openssl computes', async () => {
    const tls = await load();
    const pin = execFileSync('sh', [
      '-c',
      `openssl x509 -in ${join(dataDir, 'tls', 'server.crt')} -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64`,
    ]);
    expect(tls.spkiPin).toBe(`sha256//${pin.toString().trim()}`);
  });

  it('is kept at later starts', async () => {
    const first = await load();
    expect(await load()).toMatchObject({
      origin: 'kept',
      fingerprint: first.fingerprint,
      caFingerprint: first.caFingerprint,
    });
  });

  it.each([
    ['a new name', { hostnames: ['gateway.example', 'other.example'] }],
    ['the end being near', { now: new Date(Date.now() + 800 * 86_400_000) }],
  ])('signs a new server certificate for the same key after %s', async (_why, change) => {
    const first = await load();
    const second = await load(change);
    expect(second.fingerprint).not.toBe(first.fingerprint);
    expect(second).toMatchObject({ spkiPin: first.spkiPin, caFingerprint: first.caFingerprint, origin: 'new' });
  });

  const year = 365 * 86_400_000;
  const dates = (pem: string) => {
    const { validFrom, validTo } = new X509Certificate(pem);
    return [Date.parse(validFrom), Date.parse(validTo)] as const;
  };
  /** Whether a device with the right time, and with this CA, trusts the server. */
  const trusts = (caPem: string, cert: string) => {
    const file = join(dataDir, 'trusted.crt');
    writeFileSync(file, caPem);
    writeFileSync(join(dataDir, 'seen.crt'), cert);
    return execFileSync('openssl', ['verify', '-x509_strict', '-CAfile', file, join(dataDir, 'seen.crt')]).toString();
  };

  it('is valid although it was made by a clock that was years ahead, and so is the server certificate once the clock is right', async () => {
    const ahead = await load({ now: new Date(Date.now() + 5 * year) });
    const [from] = dates(ahead.caPem ?? '');
    expect(from).toBeLessThan(Date.now());
    const right = await load();
    expect(right).toMatchObject({ origin: 'new', spkiPin: ahead.spkiPin, caFingerprint: ahead.caFingerprint });
    expect(trusts(ahead.caPem ?? '', right.cert)).toContain('OK');
    expect((await load()).fingerprint).toBe(right.fingerprint);
  });

  it('is signed again with its key where an older version made it by a clock that was years ahead, or in 1970', async () => {
    for (const notBefore of [new Date(Date.now() + 5 * year), new Date(1000)]) {
      const first = await load();
      await makeAgain({ notBefore, notAfter: new Date(notBefore.getTime() + 20 * year) });
      const made = readFileSync(join(dataDir, 'tls', 'site-ca.crt'), 'utf8');
      expect(dates(made)[0]).toBeCloseTo(notBefore.getTime(), -4);
      const mended = await load();
      expect(mended).toMatchObject({ origin: 'new', spkiPin: first.spkiPin });
      const [before, after] = [new X509Certificate(made), new X509Certificate(mended.caPem ?? '')];
      expect(after.subject).toBe(before.subject);
      expect(after.publicKey.equals(before.publicKey)).toBe(true);
      expect(trusts(mended.caPem ?? '', mended.cert)).toContain('OK');
      expect(await load()).toMatchObject({ origin: 'kept', caFingerprint: mended.caFingerprint });
      rmSync(join(dataDir, 'tls'), { recursive: true });
    }
  });

  it('keeps the next CA published when it is signed again during a rotation', async () => {
    await load();
    const options = { dataDir, hostnames: [], machineName: 'box' };
    const begun = await beginRotation(options);
    const next = begun.caPem?.slice(begun.caPem.indexOf('-----END') + 26) ?? '';
    const ahead = Date.now() + 5 * year;
    await makeAgain({ notBefore: new Date(ahead), notAfter: new Date(ahead + 20 * year) }, next);
    const mended = await load();
    expect(mended.caPem).toContain(next.trim());
    expect(dates(mended.caPem ?? '')[0]).toBeLessThan(Date.now());
  });

  it('dates certificates as of the day of this version while the clock shows 1970, so that they are valid once it is right', async () => {
    const first = await load({ now: new Date(1000) });
    expect(trusts(first.caPem ?? '', first.cert)).toContain('OK');
    expect(await load()).toMatchObject({ origin: 'kept', fingerprint: first.fingerprint });
  });

  it('takes no certificate for one that lies in the future while the clock shows 1970', async () => {
    const first = await load();
    expect(await load({ now: new Date(1000) })).toMatchObject({ origin: 'kept', fingerprint: first.fingerprint });
  });

  it('signs for devices whose clock is weeks behind', async () => {
    expect(dates((await load()).cert)[0]).toBeLessThan(Date.now() - 28 * 86_400_000);
  });

  /** Writes a certificate for the CA's key as an older version did, and signs the server certificate with it. */
  async function makeAgain(validity: { notBefore: Date; notAfter: Date }, andThen = ''): Promise<void> {
    const files = tlsFilesIn(dataDir);
    const key = createPrivateKey(readFileSync(files.caKey, 'utf8'));
    const der = (of: KeyObject, type: 'pkcs8' | 'spki') => Buffer.from(of.export({ format: 'der', type } as never));
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    const { subtle } = webcrypto;
    const keys = {
      privateKey: await subtle.importKey('pkcs8', der(key, 'pkcs8'), algorithm, false, ['sign']),
      publicKey: await subtle.importKey('spki', der(createPublicKey(key), 'spki'), algorithm, true, ['verify']),
    };
    const certificate = await X509CertificateGenerator.createSelfSigned({
      serialNumber: '42',
      name: 'CN=cvm-gateway site CA 0a0b0c0d',
      ...validity,
      keys,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    writeFileSync(files.caCert, `${certificate.toString('pem')}\n${andThen}`);
    await signServer(files, ['box'], validity.notBefore);
  }

  it('keeps the names of another broker that shares its folder, so that the two do not renew it in turns', async () => {
    const one = await load({ machineName: 'one' });
    const two = await load({ machineName: 'two' });
    expect(two.fingerprint).not.toBe(one.fingerprint);
    expect(two.names).toEqual(expect.arrayContaining(['one', 'two']));
    expect((await load({ machineName: 'one' })).fingerprint).toBe(two.fingerprint);
  });

  it('refuses a key that other users can read, and names the cure', async () => {
    await load();
    chmodSync(join(dataDir, 'tls', 'site-ca.key'), 0o644);
    await expect(load()).rejects.toThrow(/chmod 600/);
    const options = { dataDir, hostnames: [], machineName: 'box' };
    expect(() => readTlsMaterial(options)).toThrow(/chmod 600/);
    await expect(beginRotation(options)).rejects.toThrow(/chmod 600/);
  });

  it("refuses an operator's key that all users can read, and takes one that a group can read, as container platforms give it", async () => {
    const folder = join((await load()).caFile ?? '', '..');
    const own = { certFile: join(folder, 'server.crt'), keyFile: join(folder, 'server.key') };
    for (const mode of [0o644, 0o604, 0o660]) {
      chmodSync(own.keyFile, mode);
      await expect(load({ own })).rejects.toThrow(/CVM_TLS_KEY: .*chmod 640/);
    }
    for (const mode of [0o640, 0o440, 0o600]) {
      chmodSync(own.keyFile, mode);
      expect(await load({ own })).toMatchObject({ origin: 'own' });
    }
  });

  it('refuses a CA certificate without its key, instead of silently making another CA', async () => {
    await load();
    rmSync(join(dataDir, 'tls', 'site-ca.key'));
    await expect(load()).rejects.toThrow(/site-ca\.crt exists and .*site-ca\.key is missing; restore/);
  });

  it('refuses a CA key that is not the key of the CA certificate, and names the files to remove', async () => {
    const folder = join(dataDir, 'tls');
    await load();
    const options = { dataDir, hostnames: [], machineName: 'box' };
    await beginRotation(options);
    const nextKey = readFileSync(join(folder, 'next-ca.key'));
    await cancelRotation(options);
    writeFileSync(join(folder, 'site-ca.key'), nextKey, { mode: 0o600 });
    for (const act of [load, () => renewTlsMaterial(options), () => beginRotation(options)])
      await expect(act()).rejects.toThrow(
        /site-ca.key is not the key of .*, or remove .*site-ca.crt and .*site-ca.key/,
      );
    const { spkiPin } = readTlsMaterial(options);
    for (const half of ['site-ca.crt', 'site-ca.key']) rmSync(join(folder, half));
    expect(await load()).toMatchObject({ origin: 'new', spkiPin });
  });

  it.each(['site-ca.crt', 'site-ca.key'])(
    'is made anew when %s is lost and its other half was removed, as advised; the keys of server and gateway stay',
    async (lost) => {
      const { spkiPin, caFingerprint } = await load();
      const { identity } = await loadGateway(dataDir);
      rmSync(join(dataDir, 'tls', lost));
      const advice = await load().catch(({ message }: Error) => message);
      const [, file = ''] = /or remove (\S+) to make a new site CA/.exec(String(advice)) ?? [];
      rmSync(file);
      const after = await load();
      expect(after).toMatchObject({ origin: 'new', spkiPin });
      expect(after.caFingerprint).not.toBe(caFingerprint);
      expect((await loadGateway(dataDir)).identity).toEqual(identity);
    },
  );

  it('says that a CA was made anew where the gateway has served before, and not at a first start', async () => {
    expect((await load()).madeCaAgain).toBeUndefined();
    await loadGateway(dataDir);
    const lose = () => {
      for (const half of ['site-ca.crt', 'site-ca.key']) rmSync(join(dataDir, 'tls', half));
    };
    lose();
    expect((await load()).madeCaAgain).toBeUndefined();
    noteApproved(dataDir);
    expect((await load()).madeCaAgain).toBeUndefined();
    lose();
    expect((await load()).madeCaAgain).toBe(true);
    expect((await load()).madeCaAgain).toBeUndefined();
  });

  it('makes no CA where it cannot be told whether there is one', async () => {
    const { caFingerprint } = await load();
    const folder = join(dataDir, 'tls');
    renameSync(folder, `${folder}.kept`);
    symlinkSync('tls', folder);
    expect(() => readTlsMaterial({ dataDir, hostnames: [], machineName: 'box' })).toThrow(/ELOOP/);
    rmSync(folder);
    renameSync(`${folder}.kept`, folder);
    expect((await load()).caFingerprint).toBe(caFingerprint);
  });

  it("signs a new certificate when the server's key was replaced", async () => {
    const first = await load();
    rmSync(join(dataDir, 'tls', 'server.key'));
    writeFileSync(join(dataDir, 'tls', 'server.key'), readFileSync(join(dataDir, 'tls', 'site-ca.key')), {
      mode: 0o600,
    });
    expect((await load()).spkiPin).not.toBe(first.spkiPin);
  });

  it('has each IPv6 address once, in one form, however often it is renewed', async () => {
    const options = { dataDir, hostnames: ['FD00:0:0:0:0:0:0:7', 'fd00::7', 'fe80::1%eth0'], machineName: 'box' };
    await loadTlsMaterial(options);
    await renewTlsMaterial(options);
    const { names, cert } = await renewTlsMaterial(options);
    expect(names.filter((name) => name.includes(':'))).toEqual(expect.arrayContaining(['::1', 'fd00::7', 'fe80::1']));
    expect(names.filter((name) => name.includes(':') && /^0|[A-Z]|:0:/.test(name))).toEqual([]);
    const said = new X509Certificate(cert).subjectAltName ?? '';
    expect(said.match(/Address:0:0:0:0:0:0:0:1/g)).toHaveLength(1);
    expect(said.match(/FD00:0:0:0:0:0:0:7/g)).toHaveLength(1);
  });

  it("takes the operator's certificate, and refuses one that does not fit its key", async () => {
    const made = (await load()).caFile ?? '';
    const folder = join(made, '..');
    const own = { certFile: join(folder, 'server.crt'), keyFile: join(folder, 'server.key') };
    expect(await load({ own })).toMatchObject({ origin: 'own' });
    await expect(load({ own: { ...own, keyFile: join(folder, 'site-ca.key') } })).rejects.toThrow(/does not belong/);
    writeFileSync(join(folder, 'junk'), 'junk');
    await expect(load({ own: { certFile: join(folder, 'junk'), keyFile: join(folder, 'nowhere') } })).rejects.toThrow(
      /(?=.*CVM_TLS_CERT)(?=.*CVM_TLS_KEY)/,
    );
  });

  describe('when it is rotated', () => {
    const options = () => ({ dataDir, hostnames: ['gateway.example'], machineName: 'box' });
    /** Whether a device that was given this CA file trusts the server certificate as it is now. */
    const trusted = (caPem = ''): boolean => {
      const [ca, server] = [join(dataDir, 'given.pem'), join(dataDir, 'tls', 'server.crt')];
      writeFileSync(ca, caPem);
      try {
        return execFileSync('openssl', ['verify', '-x509_strict', '-CAfile', ca, server], { stdio: 'pipe' })
          .toString()
          .includes('OK');
      } catch {
        return false;
      }
    };

    it('publishes both CAs until it is finished; a device that has both trusts the gateway before and after', async () => {
      const before = await load();
      const during = await beginRotation(options());
      expect(during).toMatchObject({ fingerprint: before.fingerprint, caFingerprint: before.caFingerprint });
      expect(during.caPem?.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
      expect([trusted(before.caPem), trusted(during.caPem)]).toEqual([true, true]);
      const after = await finishRotation(options());
      expect(after).toMatchObject({ caFingerprint: during.nextCaFingerprint, spkiPin: before.spkiPin });
      expect(after.nextCaFingerprint).toBeUndefined();
      expect(after.names).toEqual(expect.arrayContaining([...before.names]));
      expect([trusted(before.caPem), trusted(during.caPem), trusted(after.caPem)]).toEqual([false, true, true]);
      expect(await load()).toMatchObject({ origin: 'kept', fingerprint: after.fingerprint });
      expect(statSync(join(dataDir, 'tls', 'site-ca.key')).mode & 0o777).toBe(0o600);
    });

    it('may be begun twice, followed by a renewal, and cancelled', async () => {
      const before = await load();
      const begun = await beginRotation(options());
      expect((await beginRotation(options())).nextCaFingerprint).toBe(begun.nextCaFingerprint);
      expect((await load({ now: new Date(Date.now() + 800 * 86_400_000) })).caFingerprint).toBe(before.caFingerprint);
      expect(await cancelRotation(options())).toMatchObject({
        caFingerprint: before.caFingerprint,
        caPem: before.caPem,
      });
      await expect(cancelRotation(options())).rejects.toThrow(/no rotation/);
      await expect(finishRotation(options())).rejects.toThrow(/no rotation/);
    });

    it('is not begun where no broker has started, and leaves no file there', async () => {
      await expect(beginRotation(options())).rejects.toThrow(/at its first start/);
      expect(readdirSync(dataDir)).toEqual([]);
    });

    it('is not finished without the key of the next CA, and can be cancelled', async () => {
      const before = await load();
      await beginRotation(options());
      rmSync(join(dataDir, 'tls', 'next-ca.key'));
      await expect(finishRotation(options())).rejects.toThrow(/next-ca.key is missing.*--cancel/);
      expect(await cancelRotation(options())).toMatchObject({ caPem: before.caPem });
    });

    it('is completed at the next start when a crash interrupted the change-over', async () => {
      await load();
      const { nextCaFingerprint } = await beginRotation(options());
      const folder = join(dataDir, 'tls');
      writeFileSync(join(folder, 'site-ca.key'), readFileSync(join(folder, 'next-ca.key')), { mode: 0o600 });
      const after = await load();
      expect(after.caFingerprint).toBe(nextCaFingerprint);
      expect(trusted(after.caPem)).toBe(true);
    });
  });
});
