import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { askOnce } from '../support/device.ts';
import { composeStack, eventually, findCompose, image, revision, type Stack } from './compose.ts';

const compose = findCompose();
const project = `cvmoperate${process.pid}`;
const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

describe.skipIf(compose === undefined)('an operator of the compose stack', () => {
  const env = {
    CVM_MQTT_PORT: '28901-28902',
    CVM_CONSOLE_PORT: '28444',
    CVM_AWS_LOCAL_HTTP_PORT: '24586',
    CVM_AWS_LOCAL_MQTT_PORT: '28903',
  };
  const stackWith = (more: NodeJS.ProcessEnv = {}): Stack =>
    composeStack(compose ?? [], { project, profile: 'local-aws', env: { ...env, ...more } });
  const stack = stackWith();
  let volumesBefore: string[];
  const volumes = async () => (await stack.docker('volume', 'ls', '-q')).trim().split('\n').sort();

  beforeAll(async () => {
    volumesBefore = await volumes();
    await stack.call('up', '-d', '--scale', 'broker=2');
    await eventually('the table', () => stack.cvm('devices', 'list'));
  });
  afterAll(() => stack.down());

  const portsOf = async () => {
    const found = await Promise.all(
      (await stack.containers('broker')).map((id) => stack.docker('port', id, '8883/tcp')),
    );
    return found.map((text) => Number(/:(\d+)$/m.exec(text)?.[1])).sort();
  };

  it('runs two brokers on one data volume, each with a port of the range, and both serve a device', async () => {
    const ports = await eventually('two brokers', async () => {
      for (const id of await stack.containers('broker')) expect(await stack.healthOf(id)).toBe('healthy');
      return portsOf();
    });
    expect(ports).toEqual([28901, 28902]);
    const caPem = await stack.call('exec', '-T', 'broker', 'cvm', 'tls', 'ca');
    const [line = ''] = (await stack.cvm('devices', 'add', 'two-brokers', '--json')).trim().split('\n');
    const { token } = JSON.parse(line) as { token: string };
    const ids = new Set<unknown>();
    for (const port of ports) {
      const reply = await eventually(`a reply at ${port}`, async () => {
        const found = await askOnce({ port, caPem }, 'two-brokers', { token, key: 'ec' });
        expect(found.status).toBe('accepted');
        return found;
      });
      ids.add(reply.certificateId);
    }
    expect(ids.size).toBe(1);
  });

  it('gets the site CA out of the stack, as a file without anything else', async () => {
    const pem = await stack.call('exec', '-T', 'broker', 'cvm', 'tls', 'ca');
    expect(pem).toMatch(/^-----BEGIN CERTIFICATE-----\n[^\r]*-----END CERTIFICATE-----\n$/);
    expect(new X509Certificate(pem).ca).toBe(true);
  });

  it('simulates devices at the broker of the stack', async () => {
    const report = await stack.call('run', '--rm', '-T', 'sim', '--devices', '5', '--flow', 'ec', '--json');
    expect(JSON.parse(report)).toMatchObject({ devices: 5, accepted: 5 });
  });

  it('sees the version and the commit, by the command and by the labels of the image', async () => {
    expect(await stack.docker('run', '--rm', image, '--version')).toBe(`${version} (${revision})\n`);
    expect(JSON.parse(await stack.docker('inspect', '-f', '{{json .Config.Labels}}', image))).toMatchObject({
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.revision': revision,
    });
  });

  it('has an image without npm, yarn and source maps', async () => {
    const search =
      'for name in npm npx yarn corepack; do command -v $name; done; find / -xdev -name "*.js.map" -o -xdev -name npm -type d';
    expect(await stack.docker('run', '--rm', '--entrypoint', 'sh', image, '-c', `${search} || true`)).toBe('');
  });

  it('sees in the health of a part that the disk of the audit trail is full, and that there is space again', async () => {
    const full = join(tmpdir(), `${project}.yml`);
    writeFileSync(
      full,
      JSON.stringify({
        version: '3.9',
        volumes: { audit: { driver_opts: { type: 'tmpfs', device: 'tmpfs', o: 'size=64k,uid=1000' } } },
      }),
    );
    const small = composeStack(compose ?? [], {
      project: `${project}full`,
      profile: 'local-aws',
      env: {
        ...env,
        CVM_MQTT_PORT: '28905',
        CVM_CONSOLE_PORT: '28445',
        CVM_AWS_LOCAL_HTTP_PORT: '24587',
        CVM_AWS_LOCAL_MQTT_PORT: '28906',
        COMPOSE_FILE: `docker-compose.yml:${full}`,
      },
    });
    try {
      await small.call('up', '-d');
      const [id = ''] = await eventually('the broker', async () => {
        const ids = await small.containers('broker');
        expect(await small.healthOf(ids[0] ?? '')).toBe('healthy');
        return ids;
      });
      await small.call('exec', '-T', 'broker', 'sh', '-c', 'cat /dev/zero > /audit/filler || true');
      await eventually('unhealthy', async () => expect(await small.healthOf(id)).toBe('unhealthy'));
      expect(await small.docker('inspect', '-f', '{{json .State.Health.Log}}', id)).toMatch(/audit.*free space there/);
      await small.call('exec', '-T', 'broker', 'rm', '/audit/filler');
      await eventually('healthy again', async () => expect(await small.healthOf(id)).toBe('healthy'));
    } finally {
      await small.down();
      rmSync(full);
    }
  });

  it('uses a server certificate of its own from the folder that is mounted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-tls-'));
    const copy = async (name: string) => stack.call('exec', '-T', 'broker', 'cat', `/data/tls/${name}`);
    for (const name of ['server.crt', 'server.key'])
      writeFileSync(join(folder, name), await copy(name), { mode: 0o600 });
    await stack.docker(
      'run',
      '--rm',
      '--user',
      '0',
      '-v',
      `${folder}:/tls`,
      '--entrypoint',
      'chown',
      image,
      '-R',
      'node',
      '/tls',
    );
    chmodSync(folder, 0o755);
    const own = stackWith({ CVM_TLS_FOLDER: folder, CVM_TLS_CERT: '/tls/server.crt', CVM_TLS_KEY: '/tls/server.key' });
    await own.call('up', '-d', '--no-deps', 'broker');
    await eventually('its certificate', async () => {
      const shown = JSON.parse(await own.call('exec', '-T', 'broker', 'cvm', 'tls', 'show', '--json')) as object;
      expect(shown).not.toHaveProperty('caFile');
      const [id = ''] = await own.containers('broker');
      expect(await own.healthOf(id)).toBe('healthy');
    });
    rmSync(folder, { recursive: true, force: true });
  });

  it('uses a Redis of its own with TLS, whose CA is in a folder that is mounted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-ca-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    await loadTlsMaterial({ dataDir: folder, hostnames: ['own-redis'], machineName: 'own-redis' });
    const ca = join(folder, 'tls');
    chmodSync(ca, 0o755);
    chmodSync(join(ca, 'server.key'), 0o644);
    const name = `${project}-own-redis`;
    const tls =
      '--port 0 --tls-port 6379 --tls-cert-file /ca/server.crt --tls-key-file /ca/server.key --tls-auth-clients no';
    const server = `redis-server ${tls} --requirepass own-password --appendonly yes --maxmemory-policy noeviction`;
    const network = ['--network', `${project}_default`, '--network-alias', 'own-redis'];
    await stack.docker(
      'run',
      '-d',
      '--rm',
      '--name',
      name,
      ...network,
      '--tmpfs',
      '/data',
      '-v',
      `${ca}:/ca:ro`,
      'redis:7-bookworm',
      ...server.split(' '),
    );
    onTestFinished(async () => void (await stack.docker('rm', '-f', name)));
    const REDIS_URL = 'rediss://:own-password@own-redis:6379/0';
    const own = stackWith({ REDIS_URL, CVM_CA_FOLDER: ca, NODE_EXTRA_CA_CERTS: '/ca/site-ca.crt' });
    await own.call('up', '-d', '--no-deps', 'broker', own.worker);
    await eventually('broker and worker', async () => {
      for (const part of ['broker', own.worker])
        for (const id of await own.containers(part)) expect(await own.healthOf(id)).toBe('healthy');
    });
  });

  it('finds no volume without a name, while the stack runs and after it is gone', async () => {
    // other stacks of this machine make volumes meanwhile
    const without = (all: string[]) =>
      all.filter((name) => /^[0-9a-f]{64}$/.test(name) && !volumesBefore.includes(name));
    expect(without(await volumes())).toEqual([]);
    await stack.call('down', '-t', '5');
    expect(without(await volumes())).toEqual([]);
    await stack.down();
    expect((await volumes()).filter((name) => name.startsWith(project))).toEqual([]);
  });
});
