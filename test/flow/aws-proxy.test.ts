import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { type ConnectProxy, startConnectProxy } from '../support/connect-proxy.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const run = promisify(execFile);
const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');
const host = 'aws.example.test';

/**
 * A plant whose machines reach AWS by a proxy alone, which wants a password. The stand-in has a certificate of a private CA, as the answers
 * of a proxy that inspects TLS have.
 */
describe.skipIf(lacks('redis-server'))('a site behind a proxy', () => {
  let gateway: Gateway;
  let front: Server;
  let proxy: ConnectProxy;
  let folder: string;
  let env: Record<string, string>;
  beforeAll(async () => {
    gateway = await startGateway();
    // the worker under test is another process
    await gateway.worker.close();
    folder = mkdtempSync(join(tmpdir(), 'cvm-behind-'));
    const { key, cert, caFile } = await loadTlsMaterial({ dataDir: folder, hostnames: [host], machineName: 'front' });
    front = createServer({ key, cert }, (incoming, outgoing) => {
      const { method, url, headers } = incoming;
      const onward = request(new URL(url ?? '/', gateway.aws.httpUrl), { method, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(outgoing);
      });
      incoming.pipe(onward);
    });
    await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
    proxy = await startConnectProxy((front.address() as AddressInfo).port, { user: 'gw', password: 'p@ss' });
    env = {
      PATH: process.env.PATH ?? '',
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_ENDPOINT_URL_IOT: `https://${host}`,
      AWS_ENDPOINT_URL_DYNAMODB: `https://${host}`,
      CVM_DATA_DIR: join(folder, 'site'),
      CVM_ROOT_CA: gateway.aws.rootCaFile,
      HTTPS_PROXY: `http://gw:p%40ss@${proxy.host}`,
      NODE_EXTRA_CA_CERTS: caFile ?? '',
      REDIS_URL: gateway.redis.url,
    };
  });
  afterAll(async () => {
    front?.closeAllConnections();
    front?.close();
    await proxy?.close();
    await gateway?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const cli = (args: readonly string[], change: Record<string, string> = {}) =>
    run(process.execPath, [cvm, ...args], { env: { ...env, ...change } });
  const failure = (args: readonly string[], change: Record<string, string>) =>
    cli(args, change).then(
      () => Promise.reject(new Error('it did not fail')),
      ({ code, stderr }: { code: number; stderr: string }) => ({ code, stderr }),
    );

  it('enrols and vends through it: cvm aws setup, cvm devices add and cvm worker', async () => {
    expect((await cli(['aws', 'setup'])).stdout).toContain('exists');
    const { stdout } = await cli(['devices', 'add', 'behind', '--json']);
    const { token } = JSON.parse(stdout) as { token: string };
    const worker = spawn(process.execPath, [cvm, 'worker'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    worker.stderr.on('data', (chunk: Buffer) => {
      log += chunk.toString();
    });
    expect(await askOnce(gateway.broker, 'behind', { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    worker.kill('SIGTERM');
    await once(worker, 'exit');
    expect(new Set(proxy.asked)).toEqual(new Set([`${host}:443`]));
    expect(log).not.toMatch(/p@ss|p%40ss/);
  });

  it('is told by a command what is wrong with its proxy', async () => {
    const wrong = await failure(['devices', 'list'], { HTTPS_PROXY: `http://gw:wrong-word@${proxy.host}` });
    expect(wrong).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/HTTPS_PROXY[\s\S]*proxy http:\/\/127.*status 407/),
    });
    expect(wrong.stderr).not.toContain('wrong-word');
    expect(await failure(['devices', 'list'], { HTTPS_PROXY: 'socks5://127.0.0.1:1' })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('HTTPS_PROXY: a proxy of the kind socks5:// cannot be used'),
    });
  });

  it('is told to name the CA of a proxy that inspects TLS in NODE_EXTRA_CA_CERTS', async () => {
    expect(await failure(['devices', 'list'], { NODE_EXTRA_CA_CERTS: '' })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('NODE_EXTRA_CA_CERTS'),
    });
  });
});
