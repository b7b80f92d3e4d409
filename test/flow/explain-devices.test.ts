import { UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { block, remove } from '../../operator/decisions.ts';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { csrsOfOneKey } from '../support/csr.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { expectVerdicts } from '../support/explain.ts';
import { connectFleetDevice, create, provision } from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, publishOf, text } from '../support/raw-mqtt.ts';

const wrongToken = 'a-token-that-belongs-to-no-device-at-all';

describe.skipIf(lacks('redis-server'))('cvm explain names why a device has no certificate', () => {
  let gateway: Gateway;
  const verdict = expectVerdicts(() => gateway);
  const anHourLater = expectVerdicts(
    () => gateway,
    () => Date.now() + 3_600_000,
  );
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_SITE: 'north' } });
  });
  afterAll(() => gateway?.close());

  const ask = (serial: string, request: unknown) => askOnce(gateway.broker, serial, request);
  const provisioned = async (serial: string) => {
    const device = await gateway.enrolOnRoster(serial);
    const reply = await ask(serial, { token: device.token, key: 'ec' });
    expect(reply.status).toBe('accepted');
    await gateway.queueIsEmpty();
    return { ...device, certificateId: reply.certificateId ?? '' };
  };
  const acknowledge = async ({ serial, token, certificateId }: Awaited<ReturnType<typeof provisioned>>) => {
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
    await device.client.endAsync(true);
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeGreaterThan(0);
  };
  const setRow = (serial: string, set: string, value: object) =>
    gateway.dynamo.send(
      new UpdateItemCommand({
        TableName: 'cvm-devices',
        Key: { productId: { S: serial } },
        UpdateExpression: `SET ${set} = :v`,
        ExpressionAttributeValues: { ':v': value as never },
      }),
    );

  it('all is well: the timeline has every step, from its connection to its acknowledgement', async () => {
    const device = await provisioned('FINE');
    await acknowledge(device);
    const { timeline, verdict: judged } = await verdict('FINE', 'fine');
    expect(judged).toMatchObject({ state: 'ok', cure: '' });
    await expect
      .poll(async () => (await verdict('FINE', 'fine')).timeline.map(({ step }) => step))
      .toEqual(
        expect.arrayContaining([
          'connected',
          'stored',
          'issue',
          'attach',
          'activate',
          'vended',
          'answered',
          'acknowledged',
        ]),
      );
    expect(JSON.stringify(timeline)).not.toContain(device.token);
  });

  it('a device that has its certificate, and never connected with it: a truck roll', async () => {
    const device = await provisioned('SILENT-AT-AWS');
    await acknowledge(device);
    const looked = async (afterMs: number, more: object = {}) => {
      const row = await gateway.registry.find('SILENT-AT-AWS');
      if (row === undefined) throw new Error('no row');
      await gateway.asWorker.registry.noteLook(row, { lookedAt: (row.issuedAt ?? 0) + afterMs, ...more });
    };
    await looked(60_000);
    await verdict('SILENT-AT-AWS', 'awaits-connection');
    await looked(3_600_000);
    const { verdict: judged, timeline } = await verdict('SILENT-AT-AWS', 'never-came-alive');
    expect(judged.cure).toMatch(/port 8883.*cvm devices reissue SILENT-AT-AWS/);
    expect(timeline.at(-1)).toMatchObject({ part: 'aws', step: 'silent' });
    await looked(3_700_000, { seenAt: Date.now() });
    expect((await verdict('SILENT-AT-AWS', 'fine')).timeline).toContainEqual(
      expect.objectContaining({ part: 'device', step: 'came-alive', outcome: 'ok' }),
    );
  });

  it('an audit trail that is too large to read in the time of an answer: it says so, and answers', async () => {
    const { serial } = await gateway.enrolOnRoster('LARGE-TRAIL');
    for (const other of ['A', 'B']) gateway.audit.record('blocked', { serial: other });
    const { missing, verdict: judged } = await gateway
      .explainerAt(Date.now, gateway.asOperator, { auditMs: 0 })
      .explain(serial);
    expect(missing).toEqual([
      expect.stringMatching(/older part of the audit trail.*cvm audit show --serial LARGE-TRAIL/),
    ]);
    expect(judged.id).toBe('never-seen');
  });

  it('a wrong token: last tried when, from where, how often', async () => {
    const { serial } = await gateway.enrolOnRoster('WRONG-TOKEN');
    for (let times = 0; times < 2; times++)
      expect(await ask(serial, { token: wrongToken })).toMatchObject({ statusCode: 401 });
    const { verdict: judged, timeline } = await verdict(serial, 'wrong-token');
    expect(judged.cause).toMatch(/Seen at 20..-..-.. ..:..:.. UTC, from 127\.0\.0\.1/);
    expect(timeline.every(({ unproven }) => unproven)).toBe(true);
  });

  it('the steps of a connection stand in the order in which they were, also where its serial is known only at its end', async () => {
    const { serial } = await gateway.enrolOnRoster('IN-ORDER');
    const device = await connectDevice(gateway.broker);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token: wrongToken }), { qos: 1 });
    expect(await device.next()).toMatchObject({ errorCode: 'InvalidToken' });
    await device.client.endAsync(true);
    await expect
      .poll(async () => (await verdict(serial, 'wrong-token')).timeline.map(({ step }) => step))
      .toEqual(['connected', 'stored', 'answered']);
  });

  it('a serial that is not enrolled, with those that look like it', async () => {
    await gateway.enrolOnRoster('AB-O1X7');
    await ask('ab-01x7', { token: wrongToken });
    const { verdict: judged, device } = await verdict('ab-01x7', 'unknown-serial');
    expect(device).toEqual({ serial: 'ab-01x7', state: 'not-enrolled' });
    expect(judged.cause).toMatch(/Enrolled are: AB-O1X7/);
    expect(judged.cure).toContain('cvm devices add ab-01x7');
  });

  it.each(['aa-bb-cc-dd-ee-ff', 'AABBCCDDEEFF', 'aa:8b:cc:DD', 'AA:BB:CC:0D:EE:FF'])(
    'a MAC address in another spelling: %s',
    async (serial) => {
      await gateway.enrol('AA:BB:CC:DD:EE:FF').catch(() => {});
      await gateway.announce(['AA:BB:CC:DD:EE:FF'], 'north');
      await expect
        .poll(async () => (await verdict(serial, 'unknown-serial')).verdict.cause)
        .toContain('AA:BB:CC:DD:EE:FF');
    },
  );

  it('a serial that differs from one of this site by several look-alikes at once, and from one of another site likewise', async () => {
    await gateway.enrol('QY-58-I0Z-1');
    await gateway.enrol('QY-58-I0Z-2', { site: 'south' });
    for (const [serial, site] of [['QY-58-I0Z-2', 'south'], ['QY-58-I0Z-1']] as const)
      await gateway.announce([serial], site);
    await expect.poll(async () => (await verdict('qysb1O2', 'unknown-serial')).near).toEqual(['QY-58-I0Z-1']);
    // of its own spelling it says more than whether it is there: it is enrolled, for another site
    await verdict('QY-58-I0Z-2', 'other-site');
  });

  it('a device that an operator has blocked', async () => {
    const { serial, token } = await gateway.enrolOnRoster('BLOCKED');
    await block(serial, gateway.operator);
    expect(await ask(serial, { token })).toMatchObject({ errorCode: 'Forbidden' });
    const { verdict: judged } = await verdict(serial, 'blocked');
    expect(judged.cure).toContain('cvm devices unblock BLOCKED');
    expect(judged.cause).toMatch(/It was blocked at 20/);
  });

  it('a token that has expired', async () => {
    // not on the roster, which has only tokens that are valid: this one may end before a slow machine has put it there
    const { serial, token } = await gateway.enrol('EXPIRED', { tokenLifetimeMs: 1 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await ask(serial, { token })).toMatchObject({ errorCode: 'TokenExpired' });
    await verdict(serial, 'token-expired');
  });

  it('a token that is spent: when, and by which address', async () => {
    const device = await provisioned('SPENT');
    await acknowledge(device);
    expect(await ask('SPENT', { token: device.token, key: 'ec' })).toMatchObject({ errorCode: 'AlreadyProvisioned' });
    const { verdict: judged } = await verdict('SPENT', 'already-provisioned');
    expect(judged.cause).toMatch(/The token was spent at 20.* UTC.* asked again at 20/);
  });

  it('a device that asks with another key than before', async () => {
    const { token } = await provisioned('KEY-MISMATCH');
    const [csr] = await csrsOfOneKey('KEY-MISMATCH', 1);
    expect(await ask('KEY-MISMATCH', { token, csr })).toMatchObject({ errorCode: 'KeyMismatch' });
    await verdict('KEY-MISMATCH', 'key-mismatch');
  });

  it('a CSR that cannot be used, and one with the key of another device', async () => {
    const { serial, token } = await gateway.enrolOnRoster('BAD-CSR');
    expect(await ask(serial, { token, csr: 'AAAA' })).toMatchObject({ errorCode: 'InvalidCsr' });
    await verdict(serial, 'bad-csr');
    const [one, other] = [await gateway.enrolOnRoster('CSR-ONE'), await gateway.enrolOnRoster('CSR-OTHER')];
    const [csr] = await csrsOfOneKey('shared', 1);
    expect(await ask(one.serial, { token: one.token, csr })).toMatchObject({ status: 'accepted' });
    expect(await ask(other.serial, { token: other.token, csr })).toMatchObject({ errorCode: 'InvalidCsr' });
    await verdict(other.serial, 'bad-csr');
  });

  it('a request that cannot be read, and one without a token', async () => {
    const [unreadable, tokenless] = [
      await gateway.enrolOnRoster('UNREADABLE'),
      await gateway.enrolOnRoster('NO-TOKEN'),
    ];
    expect(await ask(unreadable.serial, 'token=x')).toMatchObject({ errorCode: 'InvalidRequest' });
    await verdict(unreadable.serial, 'unreadable-request');
    expect(await ask(tokenless.serial, {})).toMatchObject({ errorCode: 'InvalidToken' });
    await verdict(tokenless.serial, 'no-token');
  });

  it('a template that is not here, in both dialects, and an ownership token that is none', async () => {
    const own = await gateway.enrolOnRoster('TEMPLATE-OWN');
    const request = { token: own.token, key: 'ec', template: 'none' };
    expect(await ask(own.serial, request)).toMatchObject({ errorCode: 'InvalidRequest' });
    await verdict(own.serial, 'template-unfit');

    const { serial, token } = await gateway.enrolOnRoster('TEMPLATE-FLEET');
    const device = await connectFleetDevice(gateway.broker, { username: serial, password: token });
    const { certificateOwnershipToken } = (await device.ask(create('json'))).body;
    const asked = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
    const none = await device.ask(provision('none', 'json'), asked);
    expect(none.body).toMatchObject({ errorCode: 'InvalidRequest' });
    const { verdict: judged } = await verdict(serial, 'template-unfit');
    expect(judged.cure).toContain('cvm templates list');
    const stale = await device.ask(provision('none', 'json'), { ...asked, certificateOwnershipToken: 'x' });
    expect(stale.body).toMatchObject({ errorCode: 'InvalidCertificateOwnershipToken' });
    await verdict(serial, 'ownership-token');
    await device.leave();
  });

  it('a token that is empty, and one that can be none: in the payload, and as the password of CONNECT', async () => {
    const [empty, quoted, password] = await Promise.all(
      ['EMPTY-TOKEN', 'QUOTED-TOKEN', 'SPACED-PASSWORD'].map((serial) => gateway.enrolOnRoster(serial)),
    );
    if (empty === undefined || quoted === undefined || password === undefined) throw new Error('not enrolled');
    expect(await ask(empty.serial, { token: '' })).toMatchObject({ errorCode: 'InvalidRequest' });
    const { verdict: judged } = await verdict(empty.serial, 'empty-token');
    expect(judged.cure).toContain('cvm devices reissue EMPTY-TOKEN');
    expect(await ask(quoted.serial, { token: `"${quoted.token}"` })).toMatchObject({ errorCode: 'InvalidRequest' });
    await verdict(quoted.serial, 'malformed-token');
    const device = await connectDevice(gateway.broker, { username: password.serial, password: `${password.token}\n` });
    await device.client.publishAsync(requestTopic(password.serial), '{}', { qos: 1 });
    expect(await device.next()).toMatchObject({ errorCode: 'InvalidRequest' });
    await device.client.endAsync(true);
    await verdict(password.serial, 'malformed-token');
  });

  it('a connection that speaks for another serial', async () => {
    const [mine, other] = [await gateway.enrolOnRoster('SERIAL-MINE'), await gateway.enrolOnRoster('SERIAL-OTHER')];
    const device = await connectDevice(gateway.broker, { username: mine.serial, password: mine.token });
    await device.client.publishAsync(requestTopic(other.serial), JSON.stringify({ token: other.token }), { qos: 1 });
    expect(await device.next()).toMatchObject({ errorCode: 'Forbidden' });
    await device.client.endAsync(true);
    const { timeline } = await verdict(other.serial, 'other-serial');
    // its own token proves nothing of the other serial
    expect(timeline.filter(({ part }) => part === 'broker').every(({ unproven }) => unproven)).toBe(true);
  });

  it('a device that sends more than it may', async () => {
    const { serial, token } = await provisioned('TOO-FAST');
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    // of another certificate, again and again
    for (let times = 0; times < 12; times++)
      await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId: '0'.repeat(64) }), { qos: 1 });
    await expect.poll(() => device.heard.some(({ reply }) => reply.errorCode === 'Throttled')).toBe(true);
    await verdict(serial, 'asks-too-fast');
    await device.client.endAsync(true);
  });

  it('a device that is silent for longer than its keep-alive', async () => {
    const { serial, token } = await gateway.enrolOnRoster('SILENT');
    const payload = [text(serial), text(token)];
    const raw = await connectRaw(gateway.broker);
    raw.socket.write(connectWith('silent', { flags: 0xc2, keepalive: 1, payload }));
    await expect.poll(() => raw.socket.closed).toBe(true);
    await verdict(serial, 'keep-alive');
  });

  it('a CONNECT that the gateway does not take: one with a will', async () => {
    const { serial, token } = await gateway.enrolOnRoster('WILL');
    const will = { topic: 'a', payload: Buffer.from('b'), qos: 0, retain: false } as const;
    await expect(connectDevice(gateway.broker, { username: serial, password: token, will })).rejects.toThrow();
    await verdict(serial, 'mqtt-refused');
  });

  it('a reply that is larger than the packets that the device takes', async () => {
    const { serial, token } = await gateway.enrolOnRoster('SMALL');
    const { port, caPem: ca } = gateway.broker;
    const asks = { username: serial, password: token, properties: { maximumPacketSize: 24 } };
    const client = await connectOnce({ host: 'localhost', port, ca, ...asks }, 5);
    await client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 }).catch(() => {});
    await verdict(serial, 'packet-too-large');
    await client.endAsync(true);
  });

  it('a device that left before its answer was there', async () => {
    const { serial, token } = await gateway.enrolOnRoster('LEFT');
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 4000, times: 1 }]);
    const raw = await connectRaw(gateway.broker);
    raw.socket.write(
      Buffer.concat([connectWith('left'), publishOf(requestTopic(serial), JSON.stringify({ token, key: 'ec' }))]),
    );
    await raw.next(4);
    raw.socket.destroy();
    await verdict(serial, 'left-before-answer');
  });

  it('a certificate that the device has not acknowledged', async () => {
    await provisioned('UNACKNOWLEDGED');
    await verdict('UNACKNOWLEDGED', 'answered');
    const { verdict: judged } = await anHourLater('UNACKNOWLEDGED', 'not-acknowledged');
    expect(judged.cause).toMatch(/the replay window ends at 20/);
  });

  it('a device of another site, one whose row is broken, and one that is being removed', async () => {
    await gateway.enrol('SOUTHERN', { site: 'south' });
    const { verdict: judged } = await verdict('SOUTHERN', 'other-site');
    expect(judged.cause).toMatch(/the site south, and this gateway serves north/);
    expect(judged.cure).toMatch(/move SOUTHERN --site north\. .*CVM_SITE=south/);
    await gateway.enrol('BROKEN');
    await setRow('BROKEN', 'applyState', { N: '7' });
    await verdict('BROKEN', 'row-broken');
    await provisioned('REMOVING');
    gateway.aws.faults.set([
      { operation: 'DeleteCertificate', kind: 'fail-before', errorName: 'AccessDeniedException', status: 403 },
    ]);
    await remove('REMOVING', 'with-thing', gateway.operator).catch(() => {});
    gateway.aws.faults.set([]);
    await verdict('REMOVING', 'being-removed');
  });

  it('too many wrong tokens for one serial', async () => {
    const { serial } = await gateway.enrolOnRoster('GUESSED');
    for (let tries = 0; tries < 40; tries++) {
      const { errorCode } = await ask(serial, { token: `${wrongToken}-${tries}` });
      if (errorCode === 'Throttled') break;
    }
    await verdict(serial, 'too-many-attempts');
  });
});

describe.skipIf(lacks('redis-server'))('cvm explain, where many devices come at once', () => {
  let gateway: Gateway;
  const verdict = expectVerdicts(() => gateway);
  beforeAll(async () => {
    gateway = await startGateway({ tokenAttempts: { perSecond: 0.01 } });
  });
  afterAll(() => gateway?.close());

  it('says of one whose token was not looked at that its token may be right, and to wait', async () => {
    const [first, crowded] = [await gateway.enrol('FIRST'), await gateway.enrol('CROWDED')];
    // both are new: the roster of the broker does not have them, so each token is one attempt
    for (let tries = 0; tries < 5; tries++) {
      const { errorCode } = await askOnce(gateway.broker, first.serial, { token: `${wrongToken}-${tries}` });
      if (errorCode === 'Throttled') break;
    }
    expect(await askOnce(gateway.broker, crowded.serial, { token: crowded.token, key: 'ec' })).toMatchObject({
      errorCode: 'Throttled',
    });
    const { verdict: judged, timeline } = await verdict(crowded.serial, 'too-many-unknown');
    expect(judged.cause).toContain('nothing says that the token of this device is wrong');
    expect(timeline).toContainEqual(expect.objectContaining({ step: 'refused', detail: 'tooManyUnknown' }));
  });
});
