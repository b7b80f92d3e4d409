import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');
/** What compose gives a part before it is killed, in milliseconds: docker-compose.yml, `stop_grace_period`. */
const graceMs = 30_000;

/** A firewall that drops packets, say: calls are sent, and no answer ever comes. */
describe.skipIf(lacks('redis-server'))('calls of DynamoDB that are never answered', () => {
  let gateway: Gateway;
  let folder: string;
  let child: ChildProcess | undefined;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-stalled-'));
    gateway = await startGateway();
    await gateway.worker.close();
  });
  afterEach(async () => {
    child?.kill('SIGKILL');
    gateway?.aws.faults.set([]);
    await gateway?.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const env = () => ({
    PATH: process.env.PATH ?? '',
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_ENDPOINT_URL_IOT: gateway.aws.httpUrl,
    AWS_ENDPOINT_URL_DYNAMODB: gateway.aws.httpUrl,
    CVM_DATA_DIR: folder,
    CVM_ROOT_CA: gateway.aws.rootCaFile,
    REDIS_URL: gateway.redis.url,
  });
  const stall = () => gateway.aws.faults.set([{ operation: 'DynamoDB', kind: 'stall', ms: 600_000 }]);

  it('keep no worker from ending at SIGTERM before it would be killed, and the log says that AWS does not answer', async () => {
    const { serial, token } = await gateway.enrol('waits');
    stall();
    child = spawn(process.execPath, [cvm, 'worker'], { env: env(), stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      log += chunk.toString();
    });
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(`cvm/request/${serial}`, JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    await expect.poll(() => log, { timeout: 60_000 }).toMatch(/AWS did not answer \w+ in time/);
    // in the middle of a call
    const { 'DynamoDB.GetItem stall': before = 0 } = gateway.aws.faults.struck();
    await expect
      .poll(() => gateway.aws.faults.struck()['DynamoDB.GetItem stall'], { timeout: 60_000, interval: 20 })
      .toBeGreaterThan(before);
    const ended = new Promise((resolve) => child?.once('exit', resolve));
    const began = performance.now();
    child.kill('SIGTERM');
    await ended;
    expect(performance.now() - began).toBeLessThan(graceMs);
    await device.client.endAsync(true);
  });

  it('end a command, with words', async () => {
    stall();
    const { code, stderr } = await new Promise<{ code: number; stderr: string }>((resolve) =>
      execFile(process.execPath, [cvm, 'devices', 'list'], { env: env() }, (error, _out, text) =>
        resolve({ code: Number(error?.code), stderr: text }),
      ),
    );
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/check the network[\s\S]*AWS did not answer Scan in time/),
    ]);
  });
});
