import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { accepts, freePort, until } from '../support/network.ts';

const balancer = '127.0.0.9';

describe.skipIf(lacks('redis-server') || lacks('haproxy'))('two brokers behind HAProxy, and two workers', () => {
  let gateway: Gateway;
  let other: Awaited<ReturnType<Gateway['startOneBroker']>>;
  let second: Awaited<ReturnType<Gateway['startOneWorker']>>;
  let haproxy: ChildProcess | undefined;
  let folder: string;
  let port: number;
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_PROXY_FROM: balancer } });
    second = gateway.startOneWorker();
    other = await gateway.startOneBroker();
    folder = mkdtempSync(join(tmpdir(), 'cvm-haproxy-'));
    await balance([gateway.broker.port, other.port]);
  });
  const stopBalancing = async () => {
    if (haproxy === undefined) return;
    const gone = once(haproxy, 'exit');
    haproxy.kill();
    await gone;
  };
  const balance = async (brokers: readonly number[]) => {
    await stopBalancing();
    port = await freePort();
    const config = join(folder, 'haproxy.cfg');
    writeFileSync(config, configuration(port, brokers));
    haproxy = spawn('haproxy', ['-db', '-f', config], { stdio: 'ignore' });
    await until(() => accepts(port), 60_000, 'HAProxy is up');
  };
  afterAll(async () => {
    await stopBalancing();
    await gateway?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('serve all devices of a load in which one worker is closed, whichever broker each comes to', async () => {
    const serials = Array.from({ length: 20 }, (_, index) => `behind-${index}`);
    const replies = await Promise.all(
      serials.map(async (serial, index) => {
        const { token } = await gateway.enrol(serial);
        if (index === 5) await second.close();
        return askOnce({ ...gateway.broker, port }, serial, { token, key: 'ec' });
      }),
    );
    expect(replies.map(({ status }) => status)).toEqual(serials.map(() => 'accepted'));
    const received = await Promise.all(
      [gateway.broker, other].map(({ metric }) => metric('cvm_broker_messages_received_total', { kind: 'request' })),
    );
    // which one has fewer connections at a moment depends on how fast each is
    expect(Math.min(...received)).toBeGreaterThan(0);
    expect(received.reduce((sum, each) => sum + each)).toBe(20);
  });

  it('serve every device at its first connection while one of them is gone', async () => {
    await balance([gateway.broker.port, await freePort()]);
    for (const serial of ['left-1', 'left-2', 'left-3', 'left-4']) {
      const { token } = await gateway.enrol(serial);
      const reply = await askOnce({ ...gateway.broker, port }, serial, { token, key: 'ec' });
      expect(reply.status).toBe('accepted');
    }
  });
});

/** What docs/operations.md has, at these ports; its check is too slow to notice in a test that a broker has gone. */
function configuration(port: number, brokers: readonly number[]): string {
  const page = readFileSync('docs/operations.md', 'utf8');
  const [, config = ''] = /```\n(defaults\n.*?)```/s.exec(page) ?? [];
  let index = 0;
  return config
    .replace('bind :8883', `bind 127.0.0.1:${port}`)
    .replace(/(server \w+) \S+/g, (_all, server) => `${server} 127.0.0.1:${brokers[index++]} source ${balancer}`)
    .replaceAll(' check ', ' check inter 60s ');
}
