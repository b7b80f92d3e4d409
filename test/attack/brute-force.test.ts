import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { askOnce, connectDevice, type TestDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { sized } from '../support/size.ts';

const [tokenAttempts, connections, serial] = [sized(100_000), 20, 'victim'];

describe.skipIf(lacks('redis-server'))('trying wrong tokens', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    // the limit on attempts must hold by itself, without the pace at which a connection is read
    const fast = { burst: 1e6, perSecond: 1e6 };
    gateway = await startGateway({
      logLevel: 'warn',
      limits: { packets: fast, verifiedPackets: fast, packetsOfAddress: fast },
    });
  });
  afterAll(() => gateway?.close());

  /** Tries wrong tokens as fast as the broker accepts them, eight at a time. @returns the number of answers by code */
  async function guess(device: TestDevice, count: number): Promise<Record<string, number>> {
    const codes: Record<string, number> = {};
    for (let done = 0; done < count; done += 8) {
      const batch = Array.from({ length: Math.min(8, count - done) }, () =>
        device.client.publishAsync(
          requestTopic(serial),
          JSON.stringify({ token: randomBytes(20).toString('base64url') }),
          { qos: 1 },
        ),
      );
      await Promise.all(batch);
      for (const _ of batch) {
        const { errorCode = 'none' } = await device.next();
        codes[errorCode] = (codes[errorCode] ?? 0) + 1;
      }
    }
    return codes;
  }

  it(`${tokenAttempts} times on ${connections} connections evaluates five tokens, and the device is served meanwhile`, async () => {
    const { token } = await gateway.enrolOnRoster(serial);
    const devices = await Promise.all(Array.from({ length: connections }, () => connectDevice(gateway.broker)));
    const started = (await gateway.registry.find(serial))?.attempt;
    const guessing = Promise.all(devices.map((device) => guess(device, tokenAttempts / connections)));
    await new Promise((resolve) => setTimeout(resolve, 2000));
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    const codes = (await guessing).reduce((sum, some) => {
      for (const [code, count] of Object.entries(some)) sum[code] = (sum[code] ?? 0) + count;
      return sum;
    }, {});
    expect(codes.InvalidToken).toBeLessThanOrEqual(5);
    expect((codes.InvalidToken ?? 0) + (codes.Throttled ?? 0)).toBe(tokenAttempts);
    expect((await gateway.registry.find(serial))?.attempt).toBe((started ?? 0) + 1);
    await Promise.all(devices.map((device) => device.client.endAsync(true)));
  }, 600_000);
});
