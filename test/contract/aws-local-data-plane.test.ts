import { EventEmitter } from 'node:events';
import { existsSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import {
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreateThingCommand,
  CreateThingTypeCommand,
  DetachPolicyCommand,
  DetachThingPrincipalCommand,
  ListThingPrincipalsCommand,
  UpdateCertificateCommand,
  UpdateThingCommand,
} from '@aws-sdk/client-iot';
import type { Client } from 'aedes';
import type { IClientOptions, MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { filterPackets } from '../../aws-local/mqtt-filter.ts';
import { keepAliveOf } from '../../aws-local/mqtt-limits.ts';
import { fillDiskBelow } from '../support/full-file.ts';
import { type Credentials, devicePolicy, openStandIn, policyOf, type StandIn } from './aws-local-fixture.ts';

const kilobytes = 1024;

describe("the AWS stand-in's data plane", () => {
  let standIn: StandIn;
  let open: Credentials & { readonly thingName: string };
  beforeAll(async () => {
    standIn = await openStandIn();
    await standIn.create('device', devicePolicy);
    await standIn.create('open', policyOf({ Action: 'iot:*', Resource: '*' }));
    open = await standIn.vended({ policyName: 'open' });
  });
  afterAll(() => standIn.close());

  const closed = (client: MqttClient) => new Promise<void>((resolve) => client.once('close', () => resolve()));

  /** The connection is closed, and the packet is never acknowledged. */
  async function closesAt(act: (client: MqttClient, done: () => void) => void, options: Partial<IClientOptions> = {}) {
    const client = await standIn.connect(open, 'anyone', options);
    let acknowledged = false;
    client.on('packetreceive', () => {
      acknowledged = true;
    });
    const end = closed(client);
    act(client, () => {});
    await end;
    expect(acknowledged).toBe(false);
  }

  it.skipIf(!existsSync('/dev/full'))(
    'goes on while the disk is full, and so do calls that it is slow about',
    async () => {
      const slow = await openStandIn({ detachMs: 1 });
      onTestFinished(() => slow.close());
      await slow.create('device', devicePolicy);
      const device = await slow.vended();
      const free = fillDiskBelow(join(realpathSync(slow.dataDir), 'iot/journal.jsonl'));
      onTestFinished(free);
      await (await slow.connect(device, device.thingName)).endAsync();
      const { thingName, arn: principal } = device;
      await slow.iot().send(new DetachThingPrincipalCommand({ thingName, principal }));
      const attached = async () =>
        (await slow.iot().send(new ListThingPrincipalsCommand({ thingName }))).principals ?? [];
      await expect.poll(attached).toEqual([]);
      // a call says it
      await expect(slow.iot().send(new CreateThingCommand({ thingName: 'later' }))).rejects.toThrow();
    },
  );

  describe('admits', () => {
    it('an active certificate under the name of its thing, and lets it publish on its own topics only', async () => {
      const device = await standIn.vended();
      const client = await standIn.connect(device, device.thingName);
      await client.publishAsync(`${device.thingName}/hello`, 'x', { qos: 1 });
      const end = closed(client);
      client.publish('elsewhere/hello', 'x', { qos: 1 }, () => {});
      await end;
    });

    it('no other client id, where the policy names the thing', async () => {
      await expect(standIn.connect(await standIn.vended(), 'another')).rejects.toThrow();
    });

    it('no certificate that is not active, has no thing, has no policy, or is not registered', async () => {
      const inactive = await standIn.vended();
      await standIn.iot().send(new UpdateCertificateCommand({ certificateId: inactive.id, newStatus: 'INACTIVE' }));
      await expect(standIn.connect(inactive, inactive.thingName)).rejects.toThrow();
      const thingless = await standIn.fromCsr();
      await standIn.iot().send(new UpdateCertificateCommand({ certificateId: thingless.id, newStatus: 'ACTIVE' }));
      await standIn.iot().send(new AttachPolicyCommand({ policyName: 'device', target: thingless.arn }));
      await expect(standIn.connect(thingless, 'thingless')).rejects.toThrow();
      const free = await standIn.vended();
      await standIn.iot().send(new DetachPolicyCommand({ policyName: 'device', target: free.arn }));
      await expect(standIn.connect(free, free.thingName)).rejects.toThrow();
    });

    it('no connection without a server name', async () => {
      await (await standIn.connect(open, 'anyone')).endAsync();
      await expect(standIn.connect(open, 'anyone', { host: '127.0.0.1' })).rejects.toThrow();
    });

    it('no client id of 129 bytes', async () => {
      await (await standIn.connect(open, 'c'.repeat(128))).endAsync();
      await expect(standIn.connect(open, 'c'.repeat(129))).rejects.toThrow();
      await expect(standIn.connect(open, 'é'.repeat(65))).rejects.toThrow();
    });

    it('no one while the certificate is deactivated, and closes what it has open', async () => {
      const device = await standIn.vended();
      const client = await standIn.connect(device, device.thingName);
      const end = closed(client);
      await standIn.iot().send(new UpdateCertificateCommand({ certificateId: device.id, newStatus: 'INACTIVE' }));
      await end;
    });
  });

  describe('takes the thing', () => {
    const nameTopic = policyOf(
      { Action: 'iot:Connect', Resource: '*' },
      { Action: 'iot:Publish', Resource: 'arn:aws:iot:*:*:topic/${iot:Connection.Thing.ThingName}/x' },
    );
    beforeAll(() => standIn.create('by-name', nameTopic));

    it('from an exclusive certificate, whatever the client id', async () => {
      const device = await standIn.vended({ policyName: 'by-name' });
      const client = await standIn.connect(device, 'another');
      await client.publishAsync(`${device.thingName}/x`, '', { qos: 1 });
      const end = closed(client);
      client.publish('another/x', '', { qos: 1 }, () => {});
      await end;
    });

    it('from the client id only where the certificate is shared by things, and one of them has that name', async () => {
      const device = await standIn.vended({ policyName: 'by-name', exclusive: false });
      const second = `${device.thingName}-second`;
      await standIn.iot().send(new CreateThingCommand({ thingName: second }));
      await standIn.iot().send(new AttachThingPrincipalCommand({ thingName: second, principal: device.arn }));
      for (const name of [device.thingName, second]) {
        const client = await standIn.connect(device, name);
        await client.publishAsync(`${name}/x`, '', { qos: 1 });
        await client.endAsync();
      }
      const stranger = await standIn.connect(device, 'stranger');
      const end = closed(stranger);
      stranger.publish(`${device.thingName}/x`, '', { qos: 1 }, () => {});
      await end;
    });
  });

  describe('judges', () => {
    const arn = (resource: string) => `arn:aws:iot:*:*:${resource}`;
    const connectTo = async (policyName: string, clientId: string, options: Partial<IClientOptions> = {}) => {
      const device = await standIn.vended({ policyName });
      const client = await standIn.connect(device, clientId.replace('NAME', device.thingName), options);
      return { client, thingName: device.thingName };
    };
    const allowed = async (call: Promise<{ client: MqttClient }>) => (await call).client.endAsync();

    it('the resource of another partition as another one', async () => {
      await standIn.create('china', policyOf({ Action: 'iot:Connect', Resource: 'arn:aws-cn:iot:*:*:client/*' }));
      await expect(connectTo('china', 'NAME')).rejects.toThrow();
    });

    it('a Deny above every Allow', async () => {
      const deny = { Effect: 'Deny', Action: 'iot:Connect', Resource: arn('client/bad-?') };
      await standIn.create('deny', policyOf({ Action: 'iot:*', Resource: '*' }, deny));
      await allowed(connectTo('deny', 'bad-10'));
      await expect(connectTo('deny', 'bad-1')).rejects.toThrow();
    });

    it('the value of a variable as text, and not as a pattern', async () => {
      const resource = arn('topic/${iot:ClientId}/x');
      await standIn.create(
        'client-id',
        policyOf({ Action: 'iot:Connect', Resource: '*' }, { Action: 'iot:Publish', Resource: resource }),
      );
      for (const clientId of ['*', '.*', '?????']) {
        const { client } = await connectTo('client-id', clientId);
        const end = closed(client);
        client.publish('other/x', '', { qos: 1 }, () => {});
        await end;
      }
    });

    it('a variable without a value as one that matches nothing', async () => {
      const resource = arn('client/${iot:Connection.Thing.Attributes[site]}*');
      await standIn.create('attribute', policyOf({ Action: 'iot:Connect', Resource: resource }));
      const device = await standIn.vended({ policyName: 'attribute' });
      await expect(standIn.connect(device, 'north-1')).rejects.toThrow();
      const attributePayload = { attributes: { site: 'north' } };
      await standIn.iot().send(new UpdateThingCommand({ thingName: device.thingName, attributePayload }));
      await (await standIn.connect(device, 'north-1')).endAsync();
      await expect(standIn.connect(device, 'south-1')).rejects.toThrow();
    });

    it('by the type of the thing', async () => {
      const Condition = { StringEquals: { 'iot:Connection.Thing.ThingTypeName': ['pump', 'valve'] } };
      await standIn.create('typed', policyOf({ Action: 'iot:Connect', Resource: '*', Condition }));
      const device = await standIn.vended({ policyName: 'typed' });
      await expect(standIn.connect(device, 'x')).rejects.toThrow();
      await standIn.iot().send(new CreateThingTypeCommand({ thingTypeName: 'valve' }));
      await standIn.iot().send(new UpdateThingCommand({ thingName: device.thingName, thingTypeName: 'valve' }));
      await (await standIn.connect(device, 'x')).endAsync();
    });

    it('persistent sessions and wills by iot:ConnectAttributes, where a policy names them', async () => {
      const only = (values: string[]) => ({ 'ForAllValues:StringEquals': { 'iot:ConnectAttributes': values } });
      const policy = (values: string[]) =>
        policyOf(
          { Action: 'iot:Connect', Resource: '*', Condition: only(values) },
          { Action: 'iot:Publish', Resource: '*' },
        );
      await standIn.create('persistent', policy(['PersistentConnect']));
      const will = { topic: 'will', payload: 'x', qos: 0 as const, retain: false };
      await allowed(connectTo('persistent', 'NAME'));
      await allowed(connectTo('persistent', 'NAME', { clean: false }));
      await expect(connectTo('persistent', 'NAME', { will })).rejects.toThrow();
      await standIn.create('will', policy(['PersistentConnect', 'LastWill']));
      await allowed(connectTo('will', 'NAME', { clean: false, will }));
    });

    it('a subscription and what it receives each by its own action', async () => {
      await standIn.create(
        'deaf',
        policyOf(
          { Action: ['iot:Connect', 'iot:Publish'], Resource: '*' },
          { Action: 'iot:Subscribe', Resource: arn('topicfilter/own/#') },
          { Action: 'iot:Receive', Resource: arn('topic/own/loud') },
        ),
      );
      const { client } = await connectTo('deaf', 'NAME');
      await client.subscribeAsync('own/#', { qos: 1 });
      const received: string[] = [];
      const heard = new Promise<void>((resolve) => {
        client.on('message', (topic) => {
          received.push(topic);
          resolve();
        });
      });
      await client.publishAsync('own/quiet', '', { qos: 1 });
      await client.publishAsync('own/loud', '', { qos: 1 });
      await heard;
      expect(received).toEqual(['own/loud']);
      const end = closed(client);
      client.subscribe('own/+', () => {});
      await end;
    });

    it('retained messages also by iot:RetainPublish', async () => {
      await standIn.create('plain', policyOf({ Action: ['iot:Connect', 'iot:Publish'], Resource: '*' }));
      const { client } = await connectTo('plain', 'NAME');
      await client.publishAsync('plain', 'x', { qos: 1 });
      const end = closed(client);
      client.publish('plain', 'x', { qos: 1, retain: true }, () => {});
      await end;
    });
  });

  describe('keeps', () => {
    const nextMessage = (client: MqttClient) =>
      new Promise<{ topic: string; text: string; retain: boolean }>((resolve) => {
        client.once('message', (topic, payload, { retain }) => resolve({ topic, text: payload.toString(), retain }));
      });

    it('the last retained message of a topic for those who subscribe later', async () => {
      const client = await standIn.connect(open, 'retainer');
      await client.publishAsync('kept/topic', 'first', { qos: 1, retain: true });
      await client.publishAsync('kept/topic', 'last', { qos: 1, retain: true });
      const later = await standIn.connect(open, 'later');
      const message = nextMessage(later);
      await later.subscribeAsync('kept/+');
      expect(await message).toEqual({ topic: 'kept/topic', text: 'last', retain: true });
      await Promise.all([client.endAsync(), later.endAsync()]);
    });

    it('a will, and publishes it when the client does not say DISCONNECT', async () => {
      const witness = await standIn.connect(open, 'witness');
      await witness.subscribeAsync('wills/#', { qos: 1 });
      const message = nextMessage(witness);
      const will = (topic: string) => ({ topic, payload: 'gone', qos: 1 as const, retain: false });
      const polite = await standIn.connect(open, 'polite', { will: will('wills/polite') });
      await polite.endAsync();
      const lost = await standIn.connect(open, 'lost', { will: will('wills/lost') });
      lost.stream.destroy();
      expect(await message).toMatchObject({ topic: 'wills/lost', text: 'gone' });
      await witness.endAsync();
    });
  });

  describe('closes the connection, without an answer, at', () => {
    it.each(['publish', 'subscribe'] as const)('a %s with QoS 2', async (what) => {
      await closesAt((client, done) =>
        what === 'publish' ? client.publish('t', 'x', { qos: 2 }, done) : client.subscribe('t', { qos: 2 }, done),
      );
    });

    it('a payload above 128 KB', async () => {
      const client = await standIn.connect(open, 'large');
      await client.publishAsync('t', 'x'.repeat(128 * kilobytes), { qos: 1 });
      await client.endAsync();
      await closesAt((each, done) => each.publish('t', 'x'.repeat(128 * kilobytes + 1), { qos: 1 }, done));
    });

    const slashes = (count: number) => Array.from({ length: count + 1 }, () => 'a').join('/');
    const taken: [string, string][] = [
      ['256 bytes', 't'.repeat(256)],
      ['seven slashes', slashes(7)],
      ['seven slashes behind a rule', `$aws/rules/rule/${slashes(7)}`],
      ['a shadow', '$aws/things/x/shadow/name/n/update'],
    ];
    it.each(taken)('no topic with %s', async (_what, topic) => {
      const client = await standIn.connect(open, 'topics');
      await client.publishAsync(topic, 'x', { qos: 1 });
      await client.endAsync();
    });

    const refused: [string, string][] = [
      ['257 bytes', 't'.repeat(257)],
      ['257 bytes of UTF-8', 'é'.repeat(129)],
      ['eight slashes', slashes(8)],
      ['eight slashes behind a rule', `$aws/rules/rule/${slashes(8)}`],
      ["a reserved name that is AWS's own", '$aws/things/x/other/y'],
      ['a dollar sign', '$mine/x'],
    ];
    it.each(refused)('a topic with %s', async (_what, topic) => {
      await closesAt((client, done) => client.publish(topic, 'x', { qos: 1 }, done));
      await closesAt((client, done) => client.subscribe(topic, done));
    });

    it('a will that could not be published', async () => {
      const will = { topic: 't', payload: 'x', qos: 1 as const, retain: false };
      for (const bad of [{ topic: slashes(8) }, { topic: '$mine/x' }, { qos: 2 as const }])
        await expect(standIn.connect(open, 'willing', { will: { ...will, ...bad } })).rejects.toThrow();
    });

    it('the ninth subscription of a packet, and the 51st of a connection', async () => {
      const topics = (count: number, from = 0) => Array.from({ length: count }, (_, index) => `t/${from + index}`);
      await closesAt((client, done) => client.subscribe(topics(9), done));
      const client = await standIn.connect(open, 'many');
      for (let from = 0; from < 48; from += 8) await client.subscribeAsync(topics(8, from));
      await client.subscribeAsync(topics(2, 48));
      await client.unsubscribeAsync('t/0');
      await client.subscribeAsync('t/50');
      const end = closed(client);
      client.subscribe('t/51', () => {});
      await end;
    });
  });
});

it("the AWS stand-in takes a keep-alive interval into AWS's limits: 30 to 1200 seconds, and 1200 where none is asked for", () => {
  expect([0, 1, 30, 600, 1200, 65_535].map(keepAliveOf)).toEqual([1200, 30, 30, 600, 1200, 1200]);
  const parser = new EventEmitter();
  const seen: unknown[] = [];
  parser.on('packet', (packet) => seen.push(packet));
  filterPackets({ _parser: parser, close() {} } as unknown as Client, () => {});
  parser.emit('packet', { cmd: 'connect', clientId: 'c', keepalive: 5 });
  expect(seen).toEqual([{ cmd: 'connect', clientId: 'c', keepalive: 30 }]);
});
