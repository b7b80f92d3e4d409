import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { lacks } from '../support/lacks.ts';
import { freePort } from '../support/network.ts';

const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

describe.skipIf(lacks('redis-server'))('a Redis with a password, behind TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-rediss-'));
  const children: { child: ChildProcess; gone: Promise<unknown> }[] = [];
  afterEach(async () => {
    for (const { child, gone } of children.splice(0)) {
      child.kill('SIGKILL');
      await gone;
    }
    rmSync(folder, { recursive: true, force: true });
  });
  const start = (command: string, args: string[], env = {}) => {
    const child = spawn(command, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
    // some have ended already
    children.push({ child, gone: new Promise((resolve) => child.once('close', resolve)) });
    return () => said;
  };

  const serverTls = (caFile = '') => [
    ...['--tls-cert-file', join(folder, 'tls', 'server.crt'), '--tls-key-file', join(folder, 'tls', 'server.key')],
    ...['--tls-ca-cert-file', caFile, '--tls-auth-clients', 'no', '--tls-replication', 'yes', '--tls-cluster', 'yes'],
  ];
  /** A server that talks TLS only. */
  async function startServer(caFile: string | undefined, ...more: string[]): Promise<number> {
    const port = await freePort();
    const dir = join(folder, String(port));
    mkdirSync(dir);
    const config = join(dir, 'server.conf');
    // a Sentinel keeps what it learns in its file
    writeFileSync(config, '');
    const place = [
      '--port',
      '0',
      '--tls-port',
      String(port),
      '--bind',
      '127.0.0.1 127.0.0.2',
      '--dir',
      dir,
      '--save',
      '',
    ];
    const said = start('redis-server', [config, ...place, ...serverTls(caFile), ...more]);
    await expect.poll(said).toMatch(more.includes('--sentinel') ? /monitor master/ : 'Ready to accept connections');
    return port;
  }
  const broker = (url: string, caFile: string | undefined, name = 'broker') =>
    start(process.execPath, [cvm, 'broker'], {
      REDIS_URL: url,
      CVM_DATA_DIR: join(folder, name),
      CVM_MQTT_PORT: '0',
      CVM_CONSOLE_PORT: '0',
      CVM_LISTEN: '127.0.0.1',
      // there is no worker that could ask the table about a new gateway
      CVM_NEW_SITE: '1',
      ...(caFile === undefined ? {} : { NODE_EXTRA_CA_CERTS: caFile }),
    });

  it('is reached by its URL, rediss://:password@host, and not without TLS or password', async () => {
    const { caFile } = await loadTlsMaterial({ dataDir: folder, hostnames: ['localhost'], machineName: 'x' });
    const port = await startServer(caFile, '--requirepass', 'red-secret');
    const good = broker(`rediss://:red-secret@localhost:${port}/0`, caFile);
    await expect.poll(good).toContain('broker is listening');
    const [wrong, plain] = [
      broker(`rediss://:wrong@localhost:${port}/0`, caFile),
      broker(`redis://:red-secret@localhost:${port}/0`, caFile),
    ];
    await expect.poll(wrong).toContain('check user and password in REDIS_URL');
    await expect.poll(plain).toContain('Redis is away');
    expect(wrong() + plain()).not.toContain('broker is listening');
    expect(good() + wrong() + plain()).not.toContain('red-secret');
  });

  it('is reached by Sentinels and by a Cluster that talk TLS only, and not by those whose CA is not trusted', async () => {
    const { caFile } = await loadTlsMaterial({
      dataDir: folder,
      hostnames: ['localhost', '127.0.0.1'],
      machineName: 'x',
    });
    const master = await startServer(caFile, '--requirepass', 'red-secret');
    const monitor = `--sentinel monitor mymaster 127.0.0.1 ${master} 1 --sentinel auth-pass mymaster red-secret`;
    const sentinel = await startServer(caFile, ...monitor.split(' '), '--sentinel');
    // else its bus takes the port 10,000 above, which an outgoing connection of another test may hold
    const bus = ['--cluster-port', String(await freePort())];
    const node = await startServer(caFile, '--cluster-enabled', 'yes', ...bus, '--requirepass', 'red-secret');
    const ofNode = ['--tls', '--cacert', caFile ?? '', '-h', 'localhost', '-p', String(node), '-a', 'red-secret'];
    const slots = start('redis-cli', [...ofNode, '--no-auth-warning', 'CLUSTER', 'ADDSLOTSRANGE', '0', '16383']);
    await expect.poll(slots).toContain('OK');

    const bySentinel = broker(`rediss+sentinel://:red-secret@localhost:${sentinel}/mymaster`, caFile, 'by-sentinel');
    const byCluster = broker(`rediss+cluster://:red-secret@localhost:${node}`, caFile, 'by-cluster');
    await expect.poll(bySentinel).toContain('broker is listening');
    await expect.poll(byCluster).toContain('broker is listening');
    const untrusted = broker(`rediss+sentinel://:red-secret@localhost:${sentinel}/mymaster`, undefined, 'untrusted');
    const otherName = broker(`rediss+cluster://:red-secret@127.0.0.2:${node}`, caFile, 'other-name');
    await expect.poll(untrusted).toContain('NODE_EXTRA_CA_CERTS');
    await expect.poll(otherName).toContain('is for another name');
    const failed = untrusted() + otherName();
    expect(failed).not.toContain('broker is listening');
    expect(bySentinel() + byCluster() + failed).not.toContain('red-secret');
  });
});
