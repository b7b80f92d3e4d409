import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createApp } from '../../app/app.ts';
import { connectTable } from '../../app/aws.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { createLog } from '../../runtime/log.ts';
import { askOnce, connectDevice, type TestDevice } from '../support/device.ts';
import { expectVerdicts } from '../support/explain.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('cvm explain, of devices that wait for AWS', () => {
  let gateway: Gateway;
  const verdict = expectVerdicts(() => gateway);
  beforeAll(async () => {
    const quotas = { UpdateCertificate: 1, CreateCertificateFromCsr: 1 };
    const CVM_QUOTAS = 'UpdateCertificate=1,CreateCertificateFromCsr=1';
    gateway = await startGateway({ quotas, env: { CVM_QUOTAS } });
  });
  afterAll(() => gateway?.close());

  it('says the place in the line, and in how many seconds its turn comes', async () => {
    const devices = await Promise.all(Array.from({ length: 30 }, (_, index) => gateway.enrolOnRoster(`LINE-${index}`)));
    const connected: TestDevice[] = [];
    for (const { serial: username, token: password } of devices)
      connected.push(await connectDevice(gateway.broker, { username, password }));
    // the line is short for a slow machine: it moves from the first of them on
    for (const [index, { client }] of connected.entries())
      await client.publishAsync(requestTopic(`LINE-${index}`), '{"key":"ec"}', { qos: 1 });
    const { verdict: judged, timeline } = await verdict('LINE-29', 'in-line');
    expect(judged).toMatchObject({ state: 'waiting' });
    expect(judged.cause).toMatch(/Its place is \d+, and its turn comes in about \d+ s/);
    expect(timeline).toContainEqual(
      expect.objectContaining({
        step: 'line',
        outcome: 'waiting',
        detail: expect.stringMatching(/^place \d+, \d+ s$/),
      }),
    );
    await Promise.all(connected.map(({ client }) => client.endAsync(true)));
  });

  it('says that a worker is at it', async () => {
    const { serial, token } = await gateway.enrolOnRoster('AT-IT');
    gateway.aws.faults.set([{ operation: 'CreateThing', kind: 'latency', ms: 20_000 }]);
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    await device.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
    await verdict(serial, 'being-provisioned');
    gateway.aws.faults.set([]);
    await device.client.endAsync(true);
  });
});

describe.skipIf(lacks('redis-server'))(
  'cvm explain names what is wrong with the gateway, and not with the device',
  () => {
    let gateway: Gateway;
    const verdict = expectVerdicts(() => gateway);
    const laterVerdict = expectVerdicts(
      () => gateway,
      () => Date.now() + 40_000,
    );
    beforeAll(async () => {
      gateway = await startGateway({ proxies: true });
    });
    afterEach(() => gateway.aws.faults.set([]));
    afterAll(() => gateway?.close());

    /** Stores a request, and leaves it. */
    async function store(serial: string): Promise<void> {
      const { token } = await gateway.enrolOnRoster(serial);
      const device = await connectDevice(gateway.broker, { username: serial, password: token });
      await device.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
      await device.client.endAsync(true);
    }

    it.each([
      ['aws-denied', 'AttachPolicy', 'AccessDeniedException', /allow iot:AttachPolicy/],
      ['policy-missing', 'AttachPolicy', 'ResourceNotFoundException', /cvm aws setup/],
      ['aws-credentials', 'CreateThing', 'UnrecognizedClientException', /renew/],
      ['gateway-clock', 'CreateThing', 'RequestTimeTooSkewed', /clock/],
      ['aws-refused', 'AttachThingPrincipal', 'InvalidRequestException', /log of the worker/],
    ] as const)('%s', async (id, operation, errorName, cure) => {
      const { serial, token } = await gateway.enrolOnRoster(`AWS-${id}`);
      gateway.aws.faults.set([{ operation, kind: 'fail-before', errorName, status: 403 }]);
      expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({
        errorCode: 'UpstreamUnavailable',
      });
      const said = `AWS answered iot:${operation} with ${errorName}`;
      await expect.poll(async () => (await verdict(serial, id)).verdict.cause).toContain(said);
      const { verdict: judged, timeline } = await verdict(serial, id);
      expect(judged.cure).toMatch(cure);
      expect(timeline).toContainEqual(
        expect.objectContaining({ part: 'worker', step: 'refused', errorCode: 'UpstreamUnavailable' }),
      );
    });

    it('a policy that has disappeared, while the worker still tries: the cause, and not that it waits in the line', async () => {
      const { serial, token } = await gateway.enrolOnRoster('POLICY-GONE');
      gateway.aws.faults.set([
        { operation: 'AttachPolicy', kind: 'fail-before', errorName: 'ResourceNotFoundException', status: 404 },
      ]);
      const device = await connectDevice(gateway.broker, { username: serial, password: token });
      await device.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
      const { timeline } = await verdict(serial, 'policy-missing');
      expect(timeline).toContainEqual(
        expect.objectContaining({ step: 'postponed', detail: 'iot:AttachPolicy ResourceNotFoundException' }),
      );
      await device.client.endAsync(true);
    });

    it.each([
      ['aws-throttled', { operation: 'CreateThing', kind: 'throttle' }],
      [
        'aws-away',
        { operation: 'CreateThing', kind: 'fail-before', errorName: 'InternalFailureException', status: 500 },
      ],
    ] as const)('%s: the request waits, and is tried again', async (id, fault) => {
      gateway.aws.faults.set([fault]);
      await store(`WAITS-${id}`);
      const { verdict: judged } = await verdict(`WAITS-${id}`, id);
      expect(judged.cause).toContain('iot:CreateThing');
    });

    it('a table that is not there, although the device cannot be looked up in it', async () => {
      gateway.aws.faults.set([
        { operation: 'DynamoDB.GetItem', kind: 'fail-before', errorName: 'ResourceNotFoundException', status: 400 },
      ]);
      const { device, verdict: judged } = await verdict('ANY', 'table-missing');
      expect(device).toEqual({ serial: 'ANY', state: 'unknown' });
      expect(judged.cure).toContain('cvm aws setup');
    });

    it('no region: what is said is about the settings, and not that AWS refused the device', async () => {
      const { aws: _none, ...settings } = gateway.settings;
      const app = createApp({ ...settings, aws: {} }, createLog('silent'));
      const { registry } = connectTable(app, 'operator');
      const { device, verdict: judged } = await gateway.explainerAt(Date.now, { registry }).explain('ANY');
      expect([device.state, judged.id]).toEqual(['unknown', 'aws-credentials']);
      expect(judged.cure).toMatch(/set AWS_REGION/);
      await app.lifecycle.close();
    });

    it('a gateway that nobody has approved in the table', async () => {
      const otherDir = mkdtempSync(join(tmpdir(), 'cvm-explain-other-'));
      const other = await gateway.startOneBroker(otherDir);
      const { serial, token } = await gateway.enrol('NOT-APPROVED');
      expect(await askOnce(other, serial, { token, key: 'ec' })).toMatchObject({ errorCode: 'UpstreamUnavailable' });
      const { verdict: judged } = await verdict(serial, 'gateway-not-approved');
      expect(judged.cure).toContain('cvm tls approve');
      await other.close();
      rmSync(otherDir, { recursive: true });
    });

    it('no worker: the request is stored, and no worker takes it', async () => {
      await gateway.worker.close();
      await store('NO-WORKER');
      await laterVerdict('NO-WORKER', 'worker-away');
      gateway.startOneWorker();
      // it had left meanwhile
      await verdict('NO-WORKER', 'left-before-answer');
    });

    it('and does not take a connection that it is making for a Redis that is away', async () => {
      // a new explainer, as each command has it, and a table that answers before Redis can
      const { serial } = await gateway.enrolOnRoster('AT-ONCE');
      const row = await gateway.registry.find(serial);
      const { verdict: judged } = await gateway
        .explainerAt(Date.now, { registry: { find: async () => row } })
        .explain(serial);
      expect(judged.id).toBe('never-seen');
    });

    it('a Redis that is full, and one that is away', async () => {
      const { serial } = await gateway.enrolOnRoster('REDIS');
      const redis = new Redis(gateway.redis.url);
      await redis.config('SET', 'maxmemory', '1000');
      await verdict(serial, 'redis-full');
      await redis.config('SET', 'maxmemory', '0');
      await redis.quit();
      const proxy = gateway.network?.redis;
      proxy?.lead(1);
      proxy?.cut();
      await verdict(serial, 'redis-away');
      proxy?.lead(Number(new URL(gateway.redis.url).port));
    });

    // the last one: it closes the broker that the others use
    it('no broker runs: that is the cause for a device that was never seen, and not its power', async () => {
      const { serial } = await gateway.enrol('NO-BROKER');
      await gateway.broker.close();
      await verdict(serial, 'broker-away');
      await gateway.startOneBroker();
      await verdict(serial, 'never-seen');
    });
  },
);
