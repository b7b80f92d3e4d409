import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
  let haproxy: ChildProcess;
  let folder: string;
  let port: number;
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_PROXY_FROM: balancer } });
    second = gateway.startOneWorker();
    other = await gateway.startOneBroker();
    [port, folder] = [await freePort(), mkdtempSync(join(tmpdir(), 'cvm-haproxy-'))];
    const config = join(folder, 'haproxy.cfg');
    writeFileSync(config, configuration(port, [gateway.broker.port, other.port]));
    haproxy = spawn('haproxy', ['-db', '-f', config], { stdio: 'ignore' });
    await until(() => accepts(port), 10_000, 'HAProxy is up');
  });
  afterAll(async () => {
    if (haproxy !== undefined) {
      const gone = once(haproxy, 'exit');
      haproxy.kill();
      await gone;
    }
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
    expect(received).toEqual([10, 10]);
  });
});

/** As docs/operations.md has it. */
const configuration = (port: number, brokers: readonly number[]) => `defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen devices
  bind 127.0.0.1:${port}
  balance leastconn
${brokers.map((broker, index) => `  server broker-${index} 127.0.0.1:${broker} source ${balancer} send-proxy-v2 check check-send-proxy inter 200ms\n`).join('')}`;
