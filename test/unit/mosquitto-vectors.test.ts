import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startOpenBroker } from '../mosquitto/open-broker.ts';
import { runSequence } from '../mosquitto/sequence.ts';
import { bytesOf, readVectors } from '../mosquitto/vectors.ts';

/** Sequences of our own, in mosquitto's notation. */
const groups = [
  {
    group: 'v3.1.1',
    tests: [
      { name: 'no CONNECT', connect: false, msgs: [{ type: 'send', payload: 'C0 r0' }] },
      {
        name: 'ping',
        expect_disconnect: false,
        msgs: [
          { type: 'send', payload: 'C0 r0' },
          { type: 'recv', payload: 'D0 r0' },
        ],
      },
      ...['40', '50'].map((acknowledgement) => ({
        name: `${acknowledgement} for QoS 1`,
        expect_disconnect: acknowledgement === '50',
        msgs: [
          { type: 'send', payload: "82 r6 m1 s1 'p' 01" },
          { type: 'recv', payload: '90 r3 m1 01' },
          { type: 'publish', topic: 'p', qos: 1, payload: 'message' },
          { type: 'recv', payload: "32 r12 s1 'p' m1 'message'" },
          { type: 'send', payload: `${acknowledgement} r2 m1` },
        ],
      })),
      { name: 'stays open', msgs: [] },
      {
        name: 'another answer',
        msgs: [
          { type: 'send', payload: 'C0 r0' },
          { type: 'recv', payload: 'D1 r0' },
        ],
      },
    ],
  },
  {
    group: 'v5.0',
    tests: [
      {
        name: 'a reason code counts, the text behind it does not',
        msgs: [
          { type: 'send', payload: 'C1 00' },
          { type: 'recv', payload: 'E0 01 81' },
        ],
      },
      {
        name: 'another reason code',
        msgs: [
          { type: 'send', payload: 'C1 00' },
          { type: 'recv', payload: 'E0 01 82' },
        ],
      },
      {
        name: 'limits of CONNACK are those of each broker',
        connect: false,
        expect_disconnect: false,
        msgs: [
          { type: 'send', payload: "10 0E 0004 'MQTT' 05 02 000A 00 0001 70" },
          { type: 'recv', payload: '20 09 00 00 06 22000A 210014' },
        ],
      },
    ],
  },
  { group: 'v3.1.1', disable: true, tests: [{ name: 'is left out', msgs: [] }] },
];

describe("mosquitto's packet sequences", () => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-vectors-'));
  let broker: Awaited<ReturnType<typeof startOpenBroker>>;
  beforeAll(async () => {
    writeFileSync(join(folder, 'SOME.json'), JSON.stringify(groups));
    broker = await startOpenBroker();
  });
  afterAll(async () => {
    await broker.close();
    rmSync(folder, { recursive: true });
  });

  it('are read in their notation', () => {
    expect(bytesOf("32 r14 s5 'to ic' m258 H1 i7 L65536 v128 FF00").toString('hex')).toBe(
      `320e0005${Buffer.from('to ic').toString('hex')}01020001070001000080 01ff00`.replace(' ', ''),
    );
  });

  it('hold or fail by what they say, whatever message ids the broker chooses', async () => {
    const outcomes: Record<string, string | undefined> = {};
    for (const vector of readVectors(folder)) outcomes[vector.name] = await runSequence(broker.port, vector);
    expect(outcomes).toEqual({
      'v3.1.1 no CONNECT': undefined,
      'v3.1.1 ping': undefined,
      'v3.1.1 40 for QoS 1': undefined,
      'v3.1.1 50 for QoS 1': undefined,
      'v3.1.1 stays open': expect.stringContaining('stayed open'),
      'v3.1.1 another answer': 'got d000 in place of d100',
      'v5.0 a reason code counts, the text behind it does not': undefined,
      'v5.0 another reason code': expect.stringMatching(/^got e0\w+ in place of e00182$/),
      'v5.0 limits of CONNACK are those of each broker': undefined,
    });
  });
});
