import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
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

  it('is reached by its URL, rediss://:password@host, and not without TLS or password', async () => {
    const [port, tls] = [
      await freePort(),
      await loadTlsMaterial({ dataDir: folder, hostnames: ['localhost'], machineName: 'x' }),
    ];
    const redis = start('redis-server', [
      ...['--port', '0', '--tls-port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''],
      ...['--tls-cert-file', join(folder, 'tls', 'server.crt'), '--tls-key-file', join(folder, 'tls', 'server.key')],
      ...['--tls-ca-cert-file', tls.caFile ?? '', '--tls-auth-clients', 'no', '--requirepass', 'red-secret'],
    ]);
    await expect.poll(redis, { timeout: 10_000 }).toContain('Ready to accept connections');
    const broker = (url: string) =>
      start(process.execPath, [cvm, 'broker'], {
        REDIS_URL: url,
        CVM_DATA_DIR: join(folder, 'broker'),
        CVM_MQTT_PORT: '0',
        CVM_LISTEN: '127.0.0.1',
        // there is no worker that could ask the table about a new gateway
        CVM_NEW_SITE: '1',
        NODE_EXTRA_CA_CERTS: tls.caFile,
      });
    const good = broker(`rediss://:red-secret@localhost:${port}/0`);
    await expect.poll(good, { timeout: 20_000 }).toContain('broker is listening');
    const [wrong, plain] = [
      broker(`rediss://:wrong@localhost:${port}/0`),
      broker(`redis://:red-secret@localhost:${port}/0`),
    ];
    await expect.poll(wrong, { timeout: 20_000 }).toContain('check user and password in REDIS_URL');
    await expect.poll(plain, { timeout: 20_000 }).toContain('Redis is away');
    expect(wrong() + plain()).not.toContain('broker is listening');
    expect(good() + wrong() + plain()).not.toContain('red-secret');
  });
});
