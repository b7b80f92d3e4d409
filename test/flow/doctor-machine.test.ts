import { spawnSync } from 'node:child_process';
import { KeyObject, webcrypto } from 'node:crypto';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { onLocalAws } from '../../cli/stand-in.ts';
import type { Finding } from '../../operator/doctor/check.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '../../runtime/x509.ts';
import { tlsFilesIn } from '../../site-tls/material.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { about, examine } from '../support/doctor.ts';
import { freePort } from '../support/network.ts';
import { isolated, runCvm } from '../support/program.ts';

const day = 86_400_000;

/** An operator's own certificate, which ends after so many days. */
async function ownCertificate(root: string, name: string, days: number) {
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    notBefore: new Date(Date.now() - 400 * day),
    notAfter: new Date(Date.now() + days * day),
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: name }])],
  });
  const key = KeyObject.from(keys.privateKey).export({ format: 'pem', type: 'pkcs8' });
  const [certFile, keyFile] = [join(root, `${name}.crt`), join(root, `${name}.key`)];
  writeFileSync(certFile, certificate.toString('pem'));
  writeFileSync(keyFile, key, { mode: 0o600 });
  return { certFile, keyFile };
}

describe('cvm doctor, of a machine', () => {
  const mayMount = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;
  let root: string;
  let dataDir: string;
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'cvm-doctor-'));
    dataDir = join(root, 'data');
    mkdirSync(dataDir, { mode: 0o700 });
    await loadTlsMaterial({ dataDir, hostnames: ['gw.plant'], machineName: 'gw' });
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  const quick = (env: Record<string, string>, more: Partial<Parameters<typeof examine>[0]> = {}) =>
    examine({ dataDir, env, quick: true, ...more });
  /** What it finds with a data folder on a file system of its own, which `mount` puts on the folder ("$1"), and which goes with the process. */
  function quickOn(mount: string, folder: string): Finding[] {
    const script = `${mount} && exec node dist/cli/cvm.js doctor --quick --json`;
    const args = ['--mount', 'sh', '-c', script, 'sh', folder];
    return JSON.parse(spawnSync('unshare', args, { env: isolated(folder), encoding: 'utf8', timeout: 60_000 }).stdout);
  }

  it('finds nothing that fails where nothing is wrong, but that there is no Redis', async () => {
    const found = await quick({ CVM_HOSTNAMES: 'gw.plant' });
    expect(found.filter(({ outcome }) => outcome === 'fail').map(({ id }) => id)).toEqual(['redis']);
    expect(about(found, 'redis')).toMatch(/no "cvm up" runs on the data folder .*start the gateway/);
  });

  it.each<[string, Record<string, string>, string, RegExp]>([
    [
      'half of AWS is a stand-in',
      { AWS_ENDPOINT_URL_IOT: 'http://127.0.0.1:4566' },
      'settings',
      /fail: .*only one of them is AWS/,
    ],
    ['a profile is in no file', { AWS_PROFILE: 'plnat' }, 'settings', /fail: .*there is no profile "plnat"/],
    [
      'two sources of credentials are named',
      { AWS_PROFILE: 'a', AWS_ACCESS_KEY_ID: 'AKIAIOSFODNN7EXAMPLE', AWS_SECRET_ACCESS_KEY: 'x' },
      'settings',
      /fail: .*both name credentials/,
    ],
    ['CVM_NEW_SITE is left set', { CVM_NEW_SITE: '1' }, 'new-site', /warn: it is set .*unset CVM_NEW_SITE/],
    ['quotas are off with an account', { CVM_QUOTAS: 'off' }, 'quotas', /warn: CVM_QUOTAS is off/],
    [
      'CVM_LISTEN is no address of this machine',
      { CVM_LISTEN: '192.0.2.77', CVM_MQTT_PORT: '28883' },
      'mqtt-port',
      /fail: this machine has no address 192\.0\.2\.77/,
    ],
    [
      'the proxy is away',
      { HTTPS_PROXY: 'http://127.0.0.1:1' },
      'proxy',
      /fail: HTTPS_PROXY: it cannot be reached .*NO_PROXY/,
    ],
    [
      'the proxy is away, and NO_PROXY has the hosts of AWS: no false alarm',
      { HTTPS_PROXY: 'http://127.0.0.1:1', NO_PROXY: '.amazonaws.com' },
      'proxy',
      /^ok: HTTPS_PROXY: no call to AWS goes through it/,
    ],
    [
      'the proxy of plain HTTP is away, and AWS is called by HTTPS: no false alarm',
      { HTTP_PROXY: 'http://user:secret-of-proxy@127.0.0.1:1' },
      'proxy',
      /^ok: HTTP_PROXY: no call to AWS goes through it[^|]*\| {2}\| $/,
    ],
    [
      'the proxy for plain HTTP is away, and a stand-in elsewhere is called by it',
      {
        ...{ HTTP_PROXY: 'http://user:secret-of-proxy@127.0.0.1:1' },
        ...{ AWS_ENDPOINT_URL_IOT: 'http://standin:4566', AWS_ENDPOINT_URL_DYNAMODB: 'http://standin:4566' },
      },
      'proxy',
      /^fail: HTTP_PROXY: it cannot be reached (?!.*secret-of-proxy)/,
    ],
    ['the proxy is no address', { HTTPS_PROXY: 'http://' }, 'proxy', /fail: HTTPS_PROXY: it is no address of a proxy/],
    [
      'a name is not in the certificate',
      { CVM_HOSTNAMES: 'gw.plant,other.plant' },
      'server-names',
      /fail: other\.plant of CVM_HOSTNAMES is not in it .*cvm tls renew/,
    ],
  ])('names it where %s', async (_what, env, id, text) => {
    expect(about(await quick(env), id)).toMatch(text);
  });

  it('finds nothing wrong with the settings where the stand-in of this data folder is AWS: its root CA is none of Amazon', async () => {
    const rootCaFile = tlsFilesIn(dataDir, 'ec').cert;
    const settings = loadSettings(isolated(dataDir));
    expect(about(await quick({ CVM_ROOT_CA: rootCaFile }), 'settings')).toMatch(
      /fail: CVM_ROOT_CA: .*no root CA of Amazon/,
    );
    const local = { region: 'us-east-1', httpUrl: 'http://127.0.0.1:4566', mqttPort: 8884, rootCaFile };
    expect(about(await quick({}, { over: onLocalAws(settings, local) }), 'settings')).toMatch(/^ok/);
  });

  it('tells another program on the port from the broker of this gateway', async () => {
    const port = await freePort();
    const env = { CVM_MQTT_PORT: String(port) };
    const other = createServer((socket) => socket.on('error', () => {}).destroy()).listen(port, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    expect(about(await quick(env), 'mqtt-port')).toMatch(/fail: another program has 127\.0\.0\.1, port \d+ .*ss -ltnp/);
    await new Promise((resolve) => other.close(resolve));
    const { cert, key } = await loadTlsMaterial({ dataDir, hostnames: ['gw.plant'], machineName: 'gw' });
    const ours = createTlsServer({ cert, key })
      .on('tlsClientError', () => {})
      .listen(port, '127.0.0.1');
    await new Promise((resolve) => ours.once('listening', resolve));
    expect(about(await quick(env), 'mqtt-port')).toMatch(/^ok: .* is held by the broker of this gateway/);
    await new Promise((resolve) => ours.close(resolve));
    expect(about(await quick(env), 'mqtt-port')).toMatch(/^ok: .* is free/);
  });

  it.skipIf(!mayMount)('names a disk that is read-only once, and gives no cure for rights', () => {
    const folder = mkdtempSync(join(root, 'read-only-'));
    const mount = 'mount -t tmpfs tmpfs "$1" && mkdir -m 700 "$1/tls" "$1/audit" && mount -o remount,ro "$1"';
    const found = about(quickOn(mount, folder), 'data-folder');
    expect(found).toMatch(
      /^fail: .*read-only-\w+ \(the data folder\) is on a file system that is read-only .*remount,rw/,
    );
    expect(found.split('\n')).toHaveLength(1);
  });

  it("says what a file of an operator's own certificate has in place of it, and the command that mends it", async () => {
    const { certFile, keyFile } = await ownCertificate(root, 'forms.plant', 400);
    const made = (name: string, ...argv: string[]) => {
      const file = join(root, name);
      const { status, stderr } = spawnSync('openssl', [...argv, '-out', file], { encoding: 'utf8' });
      if (status !== 0) throw new Error(stderr);
      chmodSync(file, 0o600);
      return file;
    };
    const found = async (cert: string, key: string) =>
      about(
        await quick({ CVM_TLS_CERT: cert, CVM_TLS_KEY: key }, { only: ['server-certificate'] }),
        'server-certificate',
      );
    chmodSync(certFile, 0o600);
    const locked = made('locked.key', 'pkey', '-in', keyFile, '-aes256', '-passout', 'pass:secret');
    expect(await found(certFile, locked)).toMatch(/has a passphrase.*openssl pkey -in/);
    expect(await found(certFile, made('key.der', 'pkey', '-in', keyFile, '-outform', 'DER'))).toMatch(
      /openssl pkey -inform DER/,
    );
    expect(await found(certFile, certFile)).toMatch(/has a certificate: name the file that has its private key/);
    expect(await found(made('cert.der', 'x509', '-in', certFile, '-outform', 'DER'), keyFile)).toMatch(
      /openssl x509 -inform DER/,
    );
    const request = made('own.csr', 'req', '-new', '-key', keyFile, '-subj', '/CN=forms.plant');
    expect(await found(request, keyFile)).toMatch(/is a request for a certificate/);
  });

  it("names what is wrong with an operator's own certificate: ended, ends soon, another key, another name, not there", async () => {
    const good = await ownCertificate(root, 'own.plant', 400);
    const old = await ownCertificate(root, 'old.plant', -10);
    const ending = await ownCertificate(root, 'ending.plant', 12);
    const found = async (certFile: string, keyFile: string, hostnames = 'own.plant') => {
      const env = { CVM_TLS_CERT: certFile, CVM_TLS_KEY: keyFile, CVM_HOSTNAMES: hostnames };
      const findings = await quick(env);
      return `${about(findings, 'server-certificate')}\n${about(findings, 'server-names')}`;
    };
    expect(await found(good.certFile, good.keyFile)).toMatch(/^ok: valid from .*\nok: /);
    expect(await found(old.certFile, old.keyFile)).toMatch(
      /fail: .*expired on.*put a valid certificate and its key into the files of CVM_TLS_CERT.*\nskipped: /,
    );
    expect(await found(ending.certFile, ending.keyFile)).toMatch(/warn: .*\d+ days.*CVM_TLS_CERT/);
    expect(await found(good.certFile, old.keyFile)).toMatch(/fail: .*does not belong to CVM_TLS_CERT/);
    expect(await found(good.certFile, good.keyFile, 'new.plant')).toMatch(/fail: new\.plant .*get a certificate/);
    expect(await found(join(root, 'absent.crt'), good.keyFile)).toMatch(/fail: .*absent\.crt/);
  });

  it('names folders and keys that are open to others, and closes them with --fix', async () => {
    const key = join(dataDir, 'tls', 'server.key');
    chmodSync(dataDir, 0o755);
    chmodSync(key, 0o644);
    const awsKey = join(dataDir, 'aws-gateway', 'gateway.key');
    mkdirSync(dirname(awsKey));
    writeFileSync(awsKey, '');
    chmodSync(awsKey, 0o644);
    const before = about(await quick({}), 'data-folder');
    expect(before).toMatch(/warn: .*\(the data folder\) is open to others: mode 755 .*chmod 700/);
    expect(before).toMatch(/fail: .*server\.key \(a key\) is open to others: mode 644 .*chmod 600/);
    expect(before).toMatch(/fail: .*gateway\.key \(a key\) is open to others: mode 644 .*chmod 640/);
    const fixed = await quick({}, { fix: true });
    expect(fixed.filter(({ id }) => id === 'data-folder').map(({ fix }) => fix)).toEqual([
      expect.stringMatching(/^mended: /),
      expect.stringMatching(/^mended: /),
      expect.stringMatching(/^mended: /),
    ]);
    expect([dataDir, key, awsKey].map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o600, 0o640]);
    expect(about(await quick({}), 'data-folder')).toMatch(/^ok/);
  });

  it('names a key that is empty and passwords that are damaged, with which no start succeeds', async () => {
    const own = join(root, 'damaged');
    mkdirSync(join(own, 'tls'), { recursive: true, mode: 0o700 });
    mkdirSync(join(own, 'console'), { mode: 0o700 });
    writeFileSync(join(own, 'tls', 'gateway.key'), '', { mode: 0o600 });
    writeFileSync(join(own, 'console', 'passwords.json'), '{', { mode: 0o600 });
    const found = about(await examine({ dataDir: own, quick: true, only: ['data-folder'] }), 'data-folder');
    expect(found).toMatch(/fail: .*tls\/gateway\.key \(a key\) is damaged .*backup/);
    expect(found).toMatch(/fail: .*passwords\.json .* is damaged .*remove it, and run "cvm console password --reset"/);
  });

  const isRoot = process.getuid?.() === 0;
  it.skipIf(!isRoot)(
    'names the folders of another user below the data folder, and the command for a mode that is wrong',
    () => {
      const nobody = 65_534;
      const own = mkdtempSync(join(tmpdir(), 'cvm-doctor-nobody-'));
      mkdirSync(join(own, 'redis'), { mode: 0o700 });
      mkdirSync(join(own, 'tls'), { mode: 0o700 });
      for (const path of [own, join(own, 'tls')]) chownSync(path, nobody, nobody);
      chmodSync(join(own, 'tls'), 0o500);
      const { stdout } = spawnSync(
        'setpriv',
        [`--reuid=${nobody}`, '--clear-groups', process.execPath, 'dist/cli/cvm.js', 'doctor', '--quick', '--json'],
        {
          ...{ env: isolated(own), encoding: 'utf8', timeout: 60_000 },
        },
      );
      rmSync(own, { recursive: true, force: true });
      const found = about(JSON.parse(stdout) as Finding[], 'data-folder');
      expect(found).toMatch(/fail: .*\/redis \(a folder of the gateway\) belongs to another user .*chown -R USER/);
      expect(found).toMatch(/fail: .*\/tls .*cannot be written by this user \(mode 500\) .*run: chmod 700 /);
    },
  );

  it('names a data folder that is a file, or lies below one, and looks at the disk where a missing one will be made', async () => {
    const file = join(root, 'a-file');
    writeFileSync(file, '');
    for (const dataDir of [file, join(file, 'data', 'below')])
      expect(about(await examine({ dataDir, quick: true, only: ['data-folder'] }), 'data-folder')).toMatch(
        /^fail: .*a-file is a file, and the data folder must be a folder .*CVM_DATA_DIR/,
      );
    const later = await examine({ dataDir: join(root, 'not', 'yet'), quick: true, only: ['data-folder', 'disk'] });
    expect(about(later, 'data-folder')).toMatch(/^ok/);
    expect(about(later, 'disk')).toMatch(/ free of .* at /);
  });

  it.skipIf(!mayMount)('names a disk that is full', () => {
    const folder = mkdtempSync(join(root, 'small-'));
    const mount = 'mount -t tmpfs -o size=20m tmpfs "$1" && chmod 700 "$1"';
    expect(about(quickOn(mount, folder), 'disk')).toMatch(/^fail: 2\d MB free of 2\d MB at .*small-.*CVM_DATA_DIR/);
  });

  it('puts a missing name into the certificate of the site CA with --fix', async () => {
    const env = { CVM_HOSTNAMES: 'gw.plant,late.plant' };
    await quick(env, { fix: true, only: ['server-names'] });
    expect(about(await quick(env), 'server-names')).toMatch(/^ok: .*late\.plant/);
  });

  it('says all that is wrong with the settings, with status 1, and looks at nothing else', async () => {
    const run = runCvm(['doctor', '--json'], {
      ...isolated(dataDir),
      CVM_HOSTNAME: 'gw',
      CVM_TLS_CERT: '/x',
      CVM_MQTT_PORT: 'mqtt',
    });
    expect((await run.ended).status).toBe(1);
    const found = JSON.parse(run.text()) as Finding[];
    expect(found.map(({ seen }) => seen)).toEqual([
      expect.stringMatching(/^CVM_HOSTNAME: there is no such setting; did you mean CVM_HOSTNAMES/),
      expect.stringMatching(/^CVM_MQTT_PORT: /),
      expect.stringMatching(/^CVM_TLS_CERT, CVM_TLS_KEY: give both or neither/),
    ]);
    for (const finding of found)
      expect(finding).toMatchObject({ id: 'settings', outcome: 'fail', cure: expect.stringMatching(/\w/) });
  });

  it('changes nothing without --fix, and makes no folder of a gateway that has never run', async () => {
    const never = join(root, 'never');
    const found = await examine({ dataDir: never, quick: true });
    expect(about(found, 'server-certificate')).toMatch(/^skipped: there is none yet/);
    expect(existsSync(never)).toBe(false);
  });
});
