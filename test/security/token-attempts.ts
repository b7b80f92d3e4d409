import { randomBytes } from 'node:crypto';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import type { Figure } from '../chaos/figures.ts';
import { connectDevice } from '../support/device.ts';
import { startGateway } from '../support/gateway.ts';

/** Counts the evaluated attempts at one serial. The window is 15 minutes; this takes less. */
export async function tokenAttempts({ count }: { count: number }): Promise<Figure[]> {
  // the limit on attempts is measured, not the pace at which a connection is read
  const fast = { burst: 1e6, perSecond: 1e6 };
  const gateway = await startGateway({
    logLevel: 'silent',
    limits: { packets: fast, verifiedPackets: fast, packetsOfAddress: fast },
  });
  try {
    const { serial, token } = await gateway.enrolOnRoster('guessed-at');
    const codes: Record<string, number> = {};
    const devices = await Promise.all(Array.from({ length: 20 }, () => connectDevice(gateway.broker)));
    await Promise.all(
      devices.map(async ({ client, next }) => {
        for (let done = 0; done < count / devices.length; done++) {
          const guess = JSON.stringify({ token: randomBytes(20).toString('base64url') });
          const [{ errorCode = 'none' }] = await Promise.all([
            next(),
            client.publishAsync(requestTopic(serial), guess, { qos: 1 }),
          ]);
          codes[errorCode] = (codes[errorCode] ?? 0) + 1;
        }
        await client.endAsync(true);
      }),
    );
    const honest = await connectDevice(gateway.broker);
    await honest.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    const served = await honest.next();
    const certificateId = served.certificateId ?? '';
    await honest.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
    await honest.client.endAsync(true);
    const evaluated = codes.InvalidToken ?? 0;
    return [
      {
        name: `attempts evaluated, of ${count} at one serial`,
        value: String(evaluated),
        goal: '≤ 5',
        holds: evaluated <= 5,
      },
      {
        name: 'the device with the right token, right after them',
        value: served.status,
        goal: 'accepted',
        holds: served.status === 'accepted',
      },
    ];
  } finally {
    await gateway.close();
  }
}
