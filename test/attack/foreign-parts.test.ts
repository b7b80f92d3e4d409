import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, publishOf, subscribeTo, text } from '../support/raw-mqtt.ts';
import { connectSmall, pubackOf, readPublish } from '../support/small-link.ts';
import { readSmall, type SmallMessage } from '../support/small-packets.ts';

const settle = (ms = 300) => new Promise((resolve) => setTimeout(resolve, ms));
const publish = 3;
/** Without word of how long it takes, which would be one message more on a slow machine. */
const quietRequest = { key: 'ec', maxPacket: 128, pending: false };

describe.skipIf(lacks('redis-server'))("an attacker who asks for parts of another device's reply", () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  /** A connection that logs in with these, and the small messages that it hears. */
  async function connectAs(login?: { serial: string; token: string }) {
    const raw = await connectRaw(gateway.broker);
    const payload = login === undefined ? [] : [text(login.serial), text(login.token)];
    raw.send(connectWith('a', { flags: login === undefined ? 2 : 0xc2, payload }));
    const heard = () =>
      raw.heard
        .filter(({ type }) => type === publish)
        .map((each) => readSmall(readPublish(each).payload)) as SmallMessage[];
    return { ...raw, heardSmall: heard };
  }

  it('gets none: not without its token, not with another one, not by subscribing, and not while they are on their way', async () => {
    const victim = await gateway.enrolOnRoster('victim');
    const own = await gateway.enrolOnRoster('attacker');
    // the victim has part 0, and has not acknowledged it
    const acknowledgements: (() => void)[] = [];
    const got: number[] = [];
    const link = await connectSmall(
      gateway.broker,
      { ...victim, request: quietRequest, encoding: 'json' },
      (payload, acknowledge) => {
        got.push(payload[0] === 2 ? payload.readUInt16BE(1) : 0);
        acknowledgements.push(acknowledge);
      },
    );
    link.ask(0);
    await expect.poll(() => got).toEqual([0]);

    const guess = 'a-wrong-guess-of-the-token-000';
    const attackers = [
      await connectAs(),
      await connectAs({ serial: victim.serial, token: guess }),
      await connectAs(own),
      await connectAs({ serial: victim.serial, token: own.token }),
    ];
    const tokens = [undefined, guess, own.token, undefined];
    for (const [index, attacker] of attackers.entries()) {
      attacker.send(subscribeTo(replyTopic(victim.serial)));
      for (const part of [0, 1, 5, 65_535]) {
        const token = tokens[index] === undefined ? {} : { token: tokens[index] };
        const body = JSON.stringify({ ...quietRequest, ...token, part });
        attacker.send(publishOf(requestTopic(victim.serial), body, { id: 10 + (part % 100) }));
        // acknowledging what it never got moves nothing
        for (let id = 1; id < 4; id++) attacker.send(pubackOf(id));
      }
    }
    for (const { heardSmall } of attackers) await expect.poll(() => heardSmall().length).toBe(4);
    await settle();
    // the victim's transfer has not moved, and goes on
    expect(got).toEqual([0]);
    acknowledgements[0]?.();
    await expect.poll(() => got).toEqual([0, 1]);
    acknowledgements[1]?.();
    await expect.poll(() => got).toEqual([0, 1, 2]);
    await settle();
    for (const { heardSmall } of attackers)
      for (const message of heardSmall())
        expect(message).toMatchObject({
          type: 'rejected',
          errorCode: expect.stringMatching(/^(InvalidToken|Forbidden|Throttled)$/),
        });
    link.close();
    for (const { socket } of attackers) socket.destroy();
  });

  it('hears the same of a device that has a reply and of one that does not exist', async () => {
    const { serial, token } = await gateway.enrolOnRoster('victim-3');
    const link = await connectSmall(
      gateway.broker,
      { serial, token, request: quietRequest, encoding: 'json' },
      () => {},
    );
    link.ask(0);
    await settle();
    const heard = [];
    for (const named of [serial, 'nobody-3']) {
      const stranger = await connectAs({ serial: named, token: 'a-wrong-guess-of-the-token-000' });
      stranger.send(publishOf(requestTopic(named), JSON.stringify({ ...quietRequest, part: 3 })));
      await expect.poll(() => stranger.heardSmall().length).toBe(1);
      heard.push(...stranger.heardSmall());
      stranger.socket.destroy();
    }
    expect(heard).toMatchObject([{ errorCode: 'InvalidToken' }, heard[0]]);
    link.close();
  });

  it('that has a token of its own gets its own parts only, whatever number it names', async () => {
    const victim = await gateway.enrolOnRoster('victim-2');
    const own = await gateway.enrolOnRoster('attacker-2');
    const foreign: (SmallMessage | undefined)[] = [];
    const link = await connectSmall(gateway.broker, { ...victim, request: quietRequest, encoding: 'json' }, (payload) =>
      foreign.push(readSmall(payload)),
    );
    link.ask(0);
    await expect.poll(() => foreign).toMatchObject([{ type: 'head' }]);
    const attacker = await connectAs(own);
    attacker.send(publishOf(requestTopic(own.serial), JSON.stringify({ ...quietRequest, part: 65_535 })));
    // its own reply has no such part, so it comes from its beginning on
    await expect.poll(() => attacker.heardSmall()).toMatchObject([{ type: 'head' }]);
    await settle();
    expect(attacker.heardSmall()).toHaveLength(1);
    const [theirs, ours] = [foreign[0], attacker.heardSmall()[0]].map(
      (each) => each?.type === 'head' && each.head.sha256,
    );
    expect(ours).not.toEqual(theirs);
    link.close();
    attacker.socket.destroy();
  });
});
