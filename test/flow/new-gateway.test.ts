import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { gatewayIdIn, isNewGateway } from '../../site-tls/gateway-key.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const run = promisify(execFile);
const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

/** One table, and gateways as processes, each with a data folder of its own. */
describe.skipIf(lacks('redis-server'))('a gateway that has no key in its data folder', () => {
  let first: Gateway;
  let folder: string;
  let children: ChildProcess[];
  beforeEach(async () => {
    children = [];
    folder = mkdtempSync(join(tmpdir(), 'cvm-new-'));
    first = await startGateway();
    // approved by itself, and known on the roster with its device
    await first.enrolOnRoster('early');
  });
  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL');
    await first?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const environment = (change: Record<string, string>) => ({
    PATH: process.env.PATH ?? '',
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_ENDPOINT_URL_IOT: first.aws.httpUrl,
    AWS_ENDPOINT_URL_DYNAMODB: first.aws.httpUrl,
    CVM_ROOT_CA: first.aws.rootCaFile,
    CVM_DATA_DIR: folder,
    CVM_HOSTNAMES: 'localhost',
    CVM_LISTEN: '127.0.0.1',
    CVM_MQTT_PORT: '0',
    CVM_CONSOLE_PORT: '0',
    ...change,
  });
  const withRedis = () => ({ REDIS_URL: first.redis.url });

  /** @returns what the process says until it listens, or until it ends. `port`: undefined when it ended */
  function start(command: string, change: Record<string, string> = {}) {
    const child = spawn(process.execPath, [cvm, command], {
      env: environment(change),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    children.push(child);
    let said = '';
    const listening = new Promise<{ port?: number; said: string; code?: number | null }>((resolve) => {
      child.stderr?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        const port = /"port":(\d+).*broker is listening/.exec(said)?.[1];
        if (port !== undefined) resolve({ port: Number(port), said });
      });
      child.once('close', (code) => resolve({ said, code }));
    });
    return {
      listening,
      stop: () => child.kill('SIGTERM'),
      ended: new Promise((resolve) => child.once('close', resolve)),
    };
  }
  const id = () => gatewayIdIn(folder) ?? '';
  const approve = () => run(process.execPath, [cvm, 'tls', 'approve', id()], { env: environment({}) });
  const waits = { status: 'rejected', errorCode: 'UpstreamUnavailable', retryAfter: 60 };
  const caPem = () => readFileSync(join(folder, 'tls', 'site-ca.crt'), 'utf8');

  it.each([
    ['broker', withRedis],
    ['up', () => ({})],
  ] as const)(
    'does not start where the table knows another, says how many devices that concerns and both cures, and starts once it is approved: cvm %s',
    async (command, change) => {
      const refused = await start(command, change()).listening;
      expect(refused).toMatchObject({ code: 2 });
      expect(refused.said).toContain(`The table knows 1 other gateway (${gatewayIdIn(first.dataDir)})`);
      expect(refused.said).toMatch(/1 device with keys for others only.*restore it from its backup.*CVM_NEW_SITE=1/);
      expect(refused.said).toContain(`cvm tls approve ${id()}`);
      expect((await first.gateways.known()).map(({ state }) => state)).toEqual(['approved', 'waiting']);

      expect((await approve()).stderr).toMatch(/1 device .* run cvm devices reissue/);
      const started = start(command, change());
      expect(await started.listening).toMatchObject({ port: expect.any(Number) });
      expect(isNewGateway(folder)).toBe(false);
      started.stop();
      await started.ended;
    },
  );

  it('starts with CVM_NEW_SITE=1, and waits for approval; later it starts without, also while no worker runs', async () => {
    const further = start('broker', { ...withRedis(), CVM_NEW_SITE: '1' });
    const { port = 0 } = await further.listening;
    const { token } = await first.enrol('late');
    const ask = () => askOnce({ port, caPem: caPem() }, 'late', { token, key: 'ec' });
    expect(await ask()).toMatchObject(waits);
    await approve();
    await expect.poll(ask, { interval: 500 }).toMatchObject({ status: 'accepted' });
    further.stop();
    await further.ended;
    // the first start after the approval learns of it
    const again = start('broker', withRedis());
    expect(await again.listening).toMatchObject({ port: expect.any(Number) });
    again.stop();
    await again.ended;
    await first.worker.close();
    const offline = start('broker', { ...withRedis(), CVM_NEW_SITE: '1' });
    expect((await offline.listening).said).toContain('unset it');
    offline.stop();
    await offline.ended;
  });
});
