import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { describe, it, type TestContext } from 'vitest';
import { createApp } from '../../app/app.ts';
import { runDemo } from '../../cli/demo.ts';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { encodingOf } from '../../protocol/encoding.ts';
import { hashToken } from '../../protocol/token.ts';
import { recipientIdOf } from '../../queue/provisioning-request.ts';
import { createLog } from '../../runtime/log.ts';
import { readMaterial, servedFiles } from '../../site-tls/material.ts';
import { connectDevice, type TestDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const patience = { timeout: 45_000 };

type Site = Gateway & { device(broker?: { port: number; caPem: string }): Promise<TestDevice> };

// they wait most of the time, so they wait at the same time, each at a gateway of its own
describe.skipIf(lacks('redis-server')).concurrent('a device that waits', () => {
  /** A gateway of one test, and devices that connect to it or to another broker; all of them end with the test. */
  async function start({ onTestFinished }: TestContext, env: Readonly<Record<string, string>>): Promise<Site> {
    const gateway = await startGateway({ env });
    const open: TestDevice[] = [];
    onTestFinished(async () => {
      for (const { client } of open) await client.endAsync(true);
      await gateway.close();
    });
    const device = async (broker: { port: number; caPem: string } = gateway.broker) => {
      const connected = await connectDevice(broker);
      open.push(connected);
      return connected;
    };
    return { ...gateway, device };
  }
  /** One request at a time, and each takes so long. */
  async function startSlowly(test: TestContext, ms: number): Promise<Site> {
    const site = await start(test, { CVM_WORKER_CONCURRENCY: '1' });
    site.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms, times: 1000 }]);
    return site;
  }
  /** Nothing is answered, and the line does not move, until `release`. */
  async function startHeld(test: TestContext) {
    const site = await start(test, { CVM_WORKER_CONCURRENCY: '1' });
    site.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'throttle' }]);
    return { ...site, release: () => site.aws.faults.set([]) };
  }
  const ask = async ({ client }: TestDevice, serial: string, request: object) =>
    client.publishAsync(requestTopic(serial), JSON.stringify({ key: 'ec', ...request }), { qos: 1 });
  /** Each asks when the one before it has its PUBACK. */
  async function lineUp(at: Site, serials: readonly string[], request: object = {}) {
    const line = [];
    for (const serial of serials) {
      const { token } = await at.enrolOnRoster(serial);
      line.push({ serial, token, device: await at.device() });
    }
    for (const { serial, token, device: asking } of line) await ask(asking, serial, { token, id: serial, ...request });
    return line;
  }

  it('is told its place and for how long, with its id, in a few bytes, and is answered in its turn', async (test) => {
    const { expect } = test;
    const at = await startSlowly(test, 2500);
    const sizes: number[] = [];
    const serials = ['first', 'second', 'third', 'fourth', 'fifth'];
    const line = await lineUp(at, serials);
    const last = line.at(-1)?.device as TestDevice;
    last.client.on('message', (_topic, payload) => void sizes.push(payload.length));
    await expect.poll(() => last.notices.length, patience).toBeGreaterThan(0);
    expect(last.notices[0]).toMatchObject({ status: 'pending', id: 'fifth', retryAfter: expect.any(Number) });
    expect(last.notices[0]?.position).toBeGreaterThanOrEqual(3);
    expect(last.notices[0]?.position).toBeLessThanOrEqual(5);
    expect(Math.max(...sizes)).toBeLessThan(200);
    const order: string[] = [];
    await Promise.all(
      line.map(async ({ serial, device: waiting }) => {
        expect(await waiting.next()).toMatchObject({ status: 'accepted', id: serial });
        order.push(serial);
      }),
    );
    expect(order).toEqual(serials);
    expect(await at.broker.metric('cvm_broker_replies_total', { status: 'pending' })).toBeGreaterThan(0);
    expect(await at.worker.metricsText()).toMatch(/cvm_worker_line_length \d/);
  });

  it('and asks again with another id on the same connection, is told with that one, too, before the first is told again', async (test) => {
    const { expect } = test;
    const at = await startSlowly(test, 3000);
    const line = await lineUp(at, ['i1', 'i2', 'i3', 'i4', 'i5', 'i6', 'i7']);
    const { serial, token, device: asking } = line.at(-1) as (typeof line)[number];
    const told = () => asking.notices.map(({ id }) => id);
    await expect.poll(told, patience).not.toEqual([]);
    await ask(asking, serial, { token, id: 'another' });
    await expect.poll(told, patience).toContain('another');
    expect(told().slice(0, 2)).toEqual(['i7', 'another']);
  });

  it('may leave and come back, with another id, at another broker, and keeps its place', async (test) => {
    const { expect } = test;
    const at = await startSlowly(test, 2500);
    const other = await at.startOneBroker();
    const line = await lineUp(at, ['stays-1', 'leaves', 'stays-2', 'stays-3']);
    const leaves = line[1] as (typeof line)[number];
    await expect.poll(() => leaves.device.notices.length, patience).toBeGreaterThan(0);
    const redis = new Redis(at.redis.url);
    const jobs = () => redis.keys('{cvm}:asks:????????-*-????????????');
    const before = await jobs();
    await leaves.device.client.endAsync(true);
    const back = await at.device(other);
    await ask(back, 'leaves', { token: leaves.token, id: 'another' });
    expect(before).toEqual(expect.arrayContaining(await jobs()));
    await redis.quit();
    const order: string[] = [];
    const heard = async (name: string, waiting: TestDevice) => {
      const reply = await waiting.next();
      order.push(name);
      return reply;
    };
    const answers = await Promise.all([
      heard('leaves', back),
      ...line.filter(({ serial }) => serial !== 'leaves').map(({ serial, device: each }) => heard(serial, each)),
    ]);
    expect(order).toEqual(['stays-1', 'leaves', 'stays-2', 'stays-3']);
    expect(answers[0]).toMatchObject({ status: 'accepted', id: 'another' });
    expect(back.notices.every(({ id, position }) => id === 'another' && position <= 2)).toBe(true);
  });

  it('and comes back when it was answered meanwhile, goes to the front of those who wait', async (test) => {
    const { expect } = test;
    // so long that the first one is gone before its answer
    const at = await startSlowly(test, 5000);
    const line = await lineUp(at, ['gone', 'w1', 'w2', 'w3', 'w4', 'w5', 'w6', 'w7']);
    const gone = line[0] as (typeof line)[number];
    const redis = new Redis(at.redis.url);
    await expect.poll(() => redis.zcard('{cvm}:line'), patience).toBeGreaterThan(0);
    await gone.device.client.endAsync(true);
    await expect.poll(() => redis.keys('{cvm}:line:served:*'), patience).not.toEqual([]);
    await redis.quit();
    const back = await at.device();
    await ask(back, 'gone', { token: gone.token });
    expect(await back.next()).toMatchObject({ status: 'accepted' });
    expect(line.at(-1)?.device.heard).toEqual([]);
  });

  it('and comes back when it was answered meanwhile, does not wait behind those that a worker holds until AWS allows them', async (test) => {
    const { expect } = test;
    const at = await start(test, { CVM_QUOTAS: 'UpdateCertificate=0.5' });
    const line = await lineUp(at, ['h0', 'h1', 'h2', 'missed', 'h3', 'h4', 'h5', 'h6', 'h7', 'h8']);
    const missed = line[3] as (typeof line)[number];
    await expect.poll(() => missed.device.notices.length, patience).toBeGreaterThan(0);
    await missed.device.client.endAsync(true);
    const redis = new Redis(at.redis.url);
    const mark = () => redis.get(`{cvm}:line:served:${recipientIdOf('missed', hashToken(missed.token))}`);
    await expect.poll(mark, patience).toBe('waits');
    const back = await at.device();
    await ask(back, 'missed', { token: missed.token });
    expect(await back.next()).toMatchObject({ status: 'accepted' });
    expect(line.filter(({ device: { heard } }) => heard.length === 0).length).toBeGreaterThan(3);
    expect(await mark()).toBe('passed');
    await redis.quit();
  });

  it('keeps its place when Redis is killed and started again, and when a worker is replaced', async (test) => {
    const { expect } = test;
    const at = await startSlowly(test, 1500);
    const line = await lineUp(at, ['k1', 'k2', 'k3']);
    await expect.poll(() => line[2]?.device.notices.length, patience).toBeGreaterThan(0);
    process.kill(at.redis.pid, 'SIGKILL');
    await at.worker.close();
    at.startOneWorker();
    const order: string[] = [];
    await Promise.all(
      line.map(async ({ serial, device: waiting }) => {
        expect(await waiting.next()).toMatchObject({ status: 'accepted', id: serial });
        order.push(serial);
      }),
    );
    expect(order).toHaveLength(3);
  });

  it('is heard of in the log of the broker and in its health when no worker runs, with the cure, until one does', async (test) => {
    const { expect } = test;
    const at = await startSlowly(test, 0);
    await at.worker.close();
    const line = await lineUp(at, ['no-worker']);
    await expect.poll(at.logText).toMatch(/start a worker.*requests wait, and no worker takes them/);
    const trouble = () => readFileSync(join(at.dataDir, 'broker.trouble'), 'utf8');
    await expect.poll(trouble, patience).toMatch(/no worker takes them; start a worker/);
    at.startOneWorker();
    expect(await line[0]?.device.next()).toMatchObject({ status: 'accepted' });
  });

  it('is told again when the line is lost from Redis and made anew', async (test) => {
    const { expect } = test;
    const at = await startSlowly(test, 3000);
    const line = await lineUp(at, ['l1', 'l2', 'l3', 'l4']);
    const redis = new Redis(at.redis.url);
    await expect.poll(() => redis.zcard('{cvm}:line'), patience).toBeGreaterThan(2);
    await redis.del('{cvm}:line', '{cvm}:line:seconds');
    await expect.poll(() => redis.zcard('{cvm}:line'), patience).toBeGreaterThan(0);
    await redis.quit();
    for (const { device: waiting } of line) expect(await waiting.next()).toMatchObject({ status: 'accepted' });
  });

  it('is not told with "pending": false, and hears it in CBOR where it asked so', async (test) => {
    const { expect } = test;
    const at = await startHeld(test);
    const { token } = await at.enrolOnRoster('in-cbor');
    const inCbor = await at.device();
    const encodings: string[] = [];
    inCbor.client.on('message', (_topic, payload) => void encodings.push(encodingOf(payload)));
    const { encode } = await import('cborg');
    const quiet = await lineUp(at, ['q1', 'q2', 'q3', 'q4'], { pending: false });
    await inCbor.client.publishAsync(requestTopic('in-cbor'), Buffer.from(encode({ token, key: 'ec' })), { qos: 1 });
    await expect.poll(() => inCbor.notices.length, patience).toBeGreaterThan(0);
    at.release();
    expect(encodings[0]).toBe('cbor');
    for (const { device: waiting } of quiet) {
      expect(await waiting.next()).toMatchObject({ status: 'accepted' });
      expect(waiting.notices).toEqual([]);
    }
  });

  it('hears the same whether its serial is enrolled or not, and no other connection hears it', async (test) => {
    const { expect } = test;
    const at = await startHeld(test);
    const { serial, token } = await at.enrolOnRoster('enrolled');
    const watching = await at.device();
    await watching.client.subscribeAsync('cvm/reply/enrolled', { qos: 1 });
    const { csrPem: csr } = await makeDeviceKey('x');
    const attackers = [await at.device(), await at.device()];
    await lineUp(at, ['o1', 'o2', 'o3', 'o4']);
    const wrong = `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`;
    for (const [index, claimed] of [serial, 'not-enrolled'].entries())
      await ask(attackers[index] as TestDevice, claimed, { token: wrong, csr });
    for (const attacker of attackers) await expect.poll(() => attacker.notices.length, patience).toBeGreaterThan(0);
    at.release();
    const [known, unknown] = attackers.map(({ notices }) => Object.keys(notices[0] ?? {}));
    expect(known).toEqual(unknown);
    for (const attacker of attackers) expect(await attacker.next()).toMatchObject({ errorCode: 'InvalidToken' });
    expect(watching.notices).toEqual([]);
  });

  it('goes on waiting, as that of `npm start` on a slow machine does', async (test) => {
    const { expect } = test;
    const at = await start(test, {});
    at.aws.faults.set([{ operation: 'CreateKeysAndCertificate', kind: 'throttle' }]);
    const app = createApp(at.settings, createLog('silent'));
    test.onTestFinished(() => app.lifecycle.close());
    const said: string[] = [];
    const [say, tls] = [(line: string) => void said.push(line), readMaterial(servedFiles({ ...at.settings }))];
    const demo = runDemo({ app, say, port: at.broker.port, tls, local: at.aws }, true);
    demo.catch(() => {});
    const told = () => at.broker.metric('cvm_broker_replies_total', { status: 'pending' });
    await expect.poll(told, patience).toBeGreaterThan(0);
    at.aws.faults.set([]);
    await demo;
    expect(said.join('\n')).toMatch(/3 ask[\s\S]*at position 1 of the line[\s\S]*4 receive[\s\S]*7 publish/);
  });
});
