import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { connectDevice, type Reply } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { sized } from '../support/size.ts';

/** Longer than it takes on any machine, and far less than a person would need to find out and act. Milliseconds. */
const patienceMs = 120_000;

/** Devices that ask at once. */
const [many, some, few] = [sized(40, 20), sized(20, 10), sized(10, 6)];

/** A cut cable, a firewall that forgets its connections: nothing is closed, and nothing arrives. New connections work. */
describe.skipIf(lacks('redis-server'))('established connections that fall silent in the middle of the work:', () => {
  let gateway: Gateway;
  let replica: Awaited<ReturnType<typeof startReplica>> | undefined;
  beforeEach(async () => {
    gateway = await startGateway({ proxies: true, logLevel: 'info' });
  });
  afterEach(async () => {
    await gateway?.close();
    await replica?.close();
    replica = undefined;
  });

  /** A device that asks again, as firmware does. @returns whether it was served */
  async function serve({ serial, token }: { serial: string; token: string }): Promise<boolean> {
    const began = performance.now();
    for (;;) {
      const reply = await Promise.race([ask(serial, token), sleep(10_000, undefined, { ref: false })]);
      if (reply?.status === 'accepted') return true;
      if (performance.now() - began > patienceMs) return false;
      // as firmware waits; sooner, forty devices would use a whole core for their handshakes
      await sleep(1000);
    }
  }
  /** @returns undefined when the connection was closed before the reply */
  async function ask(serial: string, token: string): Promise<Reply | undefined> {
    const device = await connectDevice(gateway.broker).catch(() => undefined);
    if (device === undefined) return undefined;
    const closed = new Promise<undefined>((resolve) => device.client.once('close', () => resolve(undefined)));
    const request = JSON.stringify({ token, key: 'ec' });
    device.client.publish(`cvm/request/${serial}`, request, { qos: 1 }, () => {});
    const reply = await Promise.race([device.next().catch(() => undefined), closed]);
    void device.client.endAsync(true);
    return reply;
  }
  const enrol = (name: string, count: number) =>
    Promise.all(Array.from({ length: count }, (_, index) => gateway.enrol(`${name}-${index}`)));
  const serveAll = (devices: Awaited<ReturnType<typeof enrol>>) => Promise.all(devices.map(serve));

  it.each(['aws', 'redis'] as const)(
    'of %s: the gateway works again by itself, and the log says what is wrong',
    async (part) => {
      // fills the pools, as a busy gateway has them
      const [early, busy, late] = [await enrol('early', many), await enrol('busy', some), await enrol('late', some)];
      await serveAll(early);
      const during = serveAll(busy);
      await sleep(50);
      expect(gateway.network?.[part].silence()).toBeGreaterThan(0);
      const after = serveAll(late);
      const [asked, asking] = [await after, await during];
      expect(asked).not.toContain(false);
      expect(asking).not.toContain(false);
      await expect.poll(gateway.logText).toMatch(part === 'aws' ? /AWS did not answer in time/ : /Redis is away/);
    },
    300_000,
  );

  it('of Redis, whose address leads to the promoted replica: what was acknowledged before is answered, and all others', async () => {
    const [early, stored, late] = [await enrol('early', few), await enrol('stored', few), await enrol('late', some)];
    await serveAll(early);
    replica = await startReplica();
    // they wait, to be tried again
    gateway.aws.faults.set([{ operation: 'DynamoDB.UpdateItem', kind: 'fail-before' }]);
    const waiting = await Promise.all(
      stored.map(async ({ serial, token }) => {
        const device = await connectDevice(gateway.broker);
        await device.client.publishAsync(`cvm/request/${serial}`, JSON.stringify({ token, key: 'ec' }), { qos: 1 });
        return device;
      }),
    );
    gateway.network?.redis.lead(replica.port);
    await replica.promote();
    gateway.aws.faults.set([]);
    const answers = await Promise.all(waiting.map((device) => device.next(patienceMs)));
    expect(answers.map(({ status }) => status)).toEqual(stored.map(() => 'accepted'));
    expect(await serveAll(late)).not.toContain(false);
    await Promise.all(waiting.map(({ client }) => client.endAsync(true)));
  }, 300_000);

  /** A replica of the gateway's Redis that has all its data. `promote`: the two change their parts. */
  async function startReplica() {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-replica-'));
    const { port, password } = new URL(gateway.redis.url);
    const server = await startEmbeddedRedis({ dataDir: folder, log: createLog('silent'), password });
    const [master, copy] = [new Redis(gateway.redis.url), new Redis(server.url)];
    for (const each of [master, copy]) {
      each.on('error', () => {});
      await each.config('SET', 'masterauth', password);
    }
    await copy.replicaof('127.0.0.1', Number(port));
    await expect.poll(() => copy.info('replication')).toContain('master_link_status:up');
    return {
      port: Number(new URL(server.url).port),
      async promote() {
        // replication is asynchronous: what had not reached the replica would be lost, which is not what is tested here
        await master.set('reached', 'the replica');
        expect(await master.wait(1, 45_000)).toBe(1);
        await copy.replicaof('NO', 'ONE');
        await master.replicaof('127.0.0.1', Number(new URL(server.url).port));
      },
      async close() {
        for (const each of [master, copy]) each.disconnect();
        await server.close();
        rmSync(folder, { recursive: true, force: true });
      },
    };
  }
});
