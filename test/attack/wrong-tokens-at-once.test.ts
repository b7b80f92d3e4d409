import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { askOnce, connectDevice, type Reply } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { sized } from '../support/size.ts';

type Tried = { readonly serial: string; readonly token: string };
type Broker = Gateway['broker'] | Awaited<ReturnType<Gateway['startOneBroker']>>;

const wrong = (name: string, count: number): Tried[] =>
  Array.from({ length: count }, (_, index) => ({
    serial: `${name}-${index}`,
    token: randomBytes(20).toString('base64url'),
  }));

/** Connects all first, in turns over the brokers; then each sends its token at the same moment. @returns the first answers */
async function askAtOnce(brokers: readonly Broker[], devices: readonly Tried[]): Promise<Reply[]> {
  const connected = await Promise.all(
    devices.map((_, index) => connectDevice(brokers[index % brokers.length] as Broker)),
  );
  const answers = connected.map(async ({ client, next }, index) => {
    const { serial, token } = devices[index] as Tried;
    await client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    return next(100_000);
  });
  const all = await Promise.all(answers);
  await Promise.all(connected.map(({ client }) => client.endAsync(true)));
  return all;
}

const countOf = (replies: readonly Reply[], code: string) =>
  replies.filter(({ errorCode, status }) => code === (errorCode ?? status)).length;

describe.skipIf(lacks('redis-server'))('wrong tokens of one address', () => {
  let gateway: Gateway;
  beforeEach(async () => {
    gateway = await startGateway({ logLevel: 'warn' });
  });
  afterEach(() => gateway?.close());

  it('that come at the same moment on 60 connections are judged twenty times, and the others are told to wait', async () => {
    const guesses = wrong('guess', 60);
    const replies = await askAtOnce([gateway.broker], guesses);
    expect(countOf(replies, 'InvalidToken')).toBe(20);
    expect(countOf(replies, 'Throttled')).toBe(40);
    // a token that was not judged counts neither as wrong nor as right
    const again = await askAtOnce([gateway.broker], guesses);
    expect(countOf(again, 'InvalidToken')).toBe(20);
    expect(countOf(again, 'Throttled')).toBe(40);
  });

  it('that come at the same moment at two brokers, with two workers, are judged twenty times in all', async () => {
    const second = await gateway.startOneBroker();
    gateway.startOneWorker();
    const replies = await askAtOnce([gateway.broker, second], wrong('guess', 60));
    expect(countOf(replies, 'InvalidToken')).toBe(20);
    expect(countOf(replies, 'Throttled')).toBe(40);
  });

  it('count although no worker judges them, since the CSR beside them is none', async () => {
    const ask = async ({ serial, token }: Tried) =>
      (await askOnce(gateway.broker, serial, { token, csr: 'no CSR' })).errorCode;
    for (const guess of wrong('guess', 20)) expect(await ask(guess)).toBe('InvalidCsr');
    const [late] = wrong('late', 1);
    await expect.poll(() => ask(late as Tried)).toBe('Throttled');
  });

  it('do not delay the devices of the roster behind that address', async () => {
    const honest: Tried[] = [];
    for (let index = 0; index < 20; index++) honest.push(await gateway.enrolOnRoster(`known-${index}`));
    const replies = await askAtOnce([gateway.broker], [...wrong('guess', 60), ...honest]);
    expect(countOf(replies.slice(60), 'accepted')).toBe(20);
    expect(countOf(replies, 'InvalidToken')).toBe(20);
    // and now that the address is paused
    const late = await gateway.enrolOnRoster('known-late');
    expect(await askOnce(gateway.broker, late.serial, { token: late.token, key: 'ec' })).toMatchObject({
      status: 'accepted',
    });
  });
});

describe.skipIf(lacks('redis-server'))('right tokens of one address', () => {
  // more than wrong tokens may be judged, many times over in the full size
  const count = sized(300, 60);
  let gateway: Gateway;
  beforeEach(async () => {
    // more are judged at once than there are places; devices, broker and worker share the machine: Redis may be slow to answer
    gateway = await startGateway({
      logLevel: 'warn',
      limits: { storeMs: 20_000 },
      env: { CVM_WORKER_CONCURRENCY: String(sized(64, 32)) },
    });
  });
  afterEach(() => gateway?.close());

  it(`of ${count} devices that the roster does not know yet, at the same moment, are all served at once, and none is refused`, async () => {
    const devices: Tried[] = [];
    for (let first = 0; first < count; first += 20)
      devices.push(
        ...(await Promise.all(Array.from({ length: 20 }, (_, index) => gateway.enrol(`new-${first + index}`)))),
      );
    const replies = await askAtOnce([gateway.broker], devices);
    expect(countOf(replies, 'accepted')).toBe(count);
    // none of them used up what wrong tokens may
    expect(countOf(await askAtOnce([gateway.broker], wrong('guess', 30)), 'InvalidToken')).toBe(20);
  }, 240_000);
});
