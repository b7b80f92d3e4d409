import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { decode, encode } from 'cborg';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parseAcknowledgement } from '../../protocol/cvm/acknowledgement.ts';
import { parseRequest } from '../../protocol/cvm/request.ts';
import { cutIntoParts, smallPending, smallRejected } from '../../protocol/cvm/small-packets.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { buildFolder, compile, exampleC, lacksC, lacksMbedtls, make } from '../support/c-build.ts';
import { readGolden, readGoldenPublish } from '../support/golden.ts';
import { lacks } from '../support/lacks.ts';
import { sized } from '../support/size.ts';
import { goldenTime } from '../support/time.ts';

const goldenFolder = join(import.meta.dirname, '../golden/cvm');
const sources = join(import.meta.dirname, '../c');
const inSources = (...names: string[]) => names.map((name) => join(sources, name));
const inExample = (...names: string[]) => names.map((name) => join(exampleC, name));

const payloadOf = (name: string) => readGoldenPublish(`small-packets/${name}`).payload;
const parts = Array.from({ length: 10 }, (_, part) => payloadOf(`part-${part}`));
const compact = (name: string) => readGolden(`small-packets/compact-${name}`);

/** A reply with words as keys, as `"format":"der"` has it. */
function inWords(fields: ReadonlyMap<number, unknown>): Buffer {
  const [id, certificate, privateKey] = [2, 3, 4].map((key) => Buffer.from(fields.get(key) as Uint8Array));
  return Buffer.from(
    encode({
      ...{ id: '7', time: 1795822760, status: 'accepted', endpoint: fields.get(6), thingName: fields.get(5) },
      ...{ privateKey, certificateId: id?.toString('hex'), certificatePem: certificate, rootCa: Buffer.alloc(300, 7) },
    }),
  );
}
const whole = decode(compact('accepted'), { useMaps: true }) as Map<number, unknown>;
const hexOf = (key: number) => Buffer.from(whole.get(key) as Uint8Array).toString('hex');
const accepted = {
  ...{ event: 'accepted', fault: '', certificateId: hexOf(2), certificate: hexOf(3) },
  ...{
    thingName: Buffer.from('AABBCCDDEE01').toString('hex'),
    endpoint: Buffer.from(String(whole.get(6))).toString('hex'),
  },
};
const texts = [
  inWords(whole),
  Buffer.from(encode({ status: 'pending', id: '7', position: 3, retryAfter: 70, time: 5, more: [1, { a: [2] }] })),
  Buffer.from(
    encode({ status: 'rejected', statusCode: 429, errorCode: 'Throttled', errorMessage: 'slow down', retryAfter: 9 }),
  ),
];

describe.skipIf(lacksMbedtls())('the protocol library in C', () => {
  let build: ReturnType<typeof buildFolder>;
  let replay: string;
  beforeAll(() => {
    build = buildFolder();
    replay = compile(join(build.path, 'replay'), [
      ...[`-I${sources}`, '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
      ...inSources('replay.c', 'ram-store.c'),
      ...inExample('cvm_client.c', 'cvm_mbedtls.c'),
      ...['-lmbedx509', '-lmbedcrypto'],
    ]);
  });
  afterAll(() => build?.remove());

  const running: (() => void)[] = [];
  afterEach(() => {
    for (const end of running.splice(0)) end();
  });

  /** A device that answers each line with what the library makes of it. @param id of its request */
  function startDevice(id?: string) {
    const child = spawn(replay, [goldenTime.publicKey, ...(id === undefined ? [] : [id])]);
    let said = '';
    child.stderr.on('data', (text) => (said += text));
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    running.push(() => child.kill());
    const ask = async (line: string) => {
      child.stdin.write(`${line}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`the program ended: ${said}`);
      return JSON.parse(value) as Record<string, unknown>;
    };
    return { ask, reply: (payload: Uint8Array) => ask(`reply ${Buffer.from(payload).toString('hex')}`) };
  }

  it('puts the golden parts together, and finds everything in them', async () => {
    const device = startDevice('7');
    expect(await device.reply(parts[0] as Buffer)).toEqual({ event: 'stored', fault: '', time: goldenTime.time });
    for (const part of parts.slice(1, -1)) expect(await device.reply(part)).toMatchObject({ event: 'stored' });
    const last = await device.reply(parts[9] as Buffer);
    expect(last).toMatchObject(accepted);
    expect(last).not.toHaveProperty('privateKey');
  });

  it('takes a reply that comes in one packet, with numbers or words as keys', async () => {
    const device = startDevice('7');
    const withKey = { ...accepted, time: goldenTime.time, privateKey: hexOf(4) };
    expect(await device.reply(compact('accepted'))).toEqual(withKey);
    expect(await device.reply(inWords(whole))).toEqual({ ...withKey, rootCa: '07'.repeat(300) });
  });

  const throttled = { event: 'rejected', statusCode: 429, errorCode: 'Throttled', retryAfter: 10 };
  it.each([
    ['pending', payloadOf('pending'), { event: 'pending', position: 412, etaSeconds: 43, retryAfter: 51 }],
    ['pending, unknown', payloadOf('pending-unknown'), { event: 'pending', etaSeconds: 0, retryAfter: 95 }],
    ['rejected', payloadOf('rejected'), { ...throttled, errorMessage: expect.stringContaining('too fast') }],
    ['rejected for good', payloadOf('rejected-for-good'), { errorCode: 'InvalidToken', retryAfter: 0 }],
    ['pending, compact', compact('pending'), { event: 'pending', position: 412, etaSeconds: 43, retryAfter: 51 }],
    ['rejected, compact', compact('rejected'), { ...throttled, errorMessage: expect.stringContaining('too fast') }],
    ['pending, CBOR', texts[1] as Buffer, { event: 'pending', position: 3, etaSeconds: 0, retryAfter: 70, time: 5 }],
    ['rejected, CBOR', texts[2] as Buffer, { ...throttled, retryAfter: 9, errorMessage: 'slow down' }],
  ])('reads what is no certificate: %s', async (_what, payload, fields) => {
    expect(await startDevice('7').reply(payload)).toMatchObject(fields);
  });

  it.each(
    readdirSync(goldenFolder)
      .filter((file) => /^(accepted-.*(der|compact).*|pending.*|rejected-.*)\.cbor\.hex$/.test(file))
      .map((file) => file.replace('.hex', '')),
  )('reads the golden message: %s', async (name) => {
    const { payload } = readGoldenPublish(`cvm/${name}`);
    const [event, code] = name.replace('.cbor', '').split('-');
    const heard = await startDevice('7').reply(payload);
    expect(heard).toMatchObject({ event, fault: '', ...(event === 'rejected' ? { errorCode: code } : {}) });
    if (event !== 'accepted') return;
    const written = decode(payload, { useMaps: true }) as Map<string | number, unknown>;
    const bytesOf = (...keys: (string | number)[]) =>
      keys.map((key) => written.get(key)).find((value) => value !== undefined) as Uint8Array | undefined;
    for (const [field, ...keys] of [
      ['certificate', 'certificatePem', 3],
      ['privateKey', 'privateKey', 4],
      ['rootCa', 'rootCa', 7],
    ]) {
      const value = bytesOf(...keys);
      expect(heard[String(field)], String(field)).toBe(value && Buffer.from(value).toString('hex'));
    }
  });

  it.each([
    ['empty', '', 'the message is empty'],
    ['JSON', '7b7d', 'the message is JSON: this library asks in CBOR'],
    ['another type', '05', 'the message is of no known type'],
    ['cut off', payloadOf('rejected').subarray(0, 12).toString('hex'), 'the message is cut off or malformed'],
    ['half a map', compact('accepted').subarray(0, 300).toString('hex'), 'the message is cut off or malformed'],
    ['a key twice', 'a200020002', 'the message is cut off or malformed'],
    ['no certificate', 'a10001', 'the accepted reply lacks a field'],
    [
      'another id',
      payloadOf('pending').toString('hex').replace(/0137$/, '0138'),
      'the message is for a request with another id',
    ],
  ])('says why it passed over a message: %s', async (_what, hex, fault) => {
    expect(await startDevice('7').ask(`reply ${hex}`)).toMatchObject({ event: 'nothing', fault });
  });

  it('asks once for a gap, from the part on that is missing', async () => {
    const device = startDevice();
    await device.reply(parts[0] as Buffer);
    await device.reply(parts[1] as Buffer);
    expect(await device.reply(parts[3] as Buffer)).toMatchObject({ event: 'ask', part: 2 });
    expect(await device.reply(parts[4] as Buffer)).toMatchObject({ event: 'nothing', fault: '' });
    expect(await device.ask('again')).toMatchObject({ part: 2 });
  });

  it('begins anew where the stored bytes are not those of part 0, and where the reply has changed', async () => {
    const device = startDevice();
    for (const part of parts.slice(0, -1)) await device.reply(part);
    const last = Buffer.from(parts[9] as Buffer);
    last[6] = 0;
    expect(await device.reply(last)).toMatchObject({
      event: 'ask',
      part: 0,
      fault: expect.stringContaining('SHA-256'),
    });
    for (const part of parts.slice(0, 4)) await device.reply(part);
    const other = cutIntoParts(Buffer.from('another reply'), 50, 0, 0);
    expect(await device.reply(other.part(1))).toMatchObject({ event: 'ask', part: 0 });
    expect(await device.reply(other.part(0))).toMatchObject({ event: 'stored' });
  });

  it.each([
    ['larger packets, which are fewer than it has stored', { before: 60, stored: 10, after: 300 }],
    ['larger packets', { before: 60, stored: 3, after: 150 }],
    ['smaller packets', { before: 150, stored: 3, after: 60 }],
  ])('begins anew after a restart with firmware that takes %s', async (_what, { before, stored, after }) => {
    const device = startDevice();
    const half = cutIntoParts(compact('accepted'), before, 0, 0);
    for (let number = 0; number <= stored; number++) await device.reply(half.part(number));
    let heard = await device.ask('restart');
    const asks: number[] = [];
    while (heard.event === 'ask') {
      asks.push(Number(heard.part));
      const { first, last, part } = cutIntoParts(compact('accepted'), after, Number(heard.part), 0);
      for (let number = first; number <= last; number++) {
        const { event, ...reply } = await device.reply(part(number));
        // what came behind a part that does not fit is on its way already
        if (event === 'ask' || event === 'accepted') heard = { event, ...reply };
      }
      expect(asks.length).toBeLessThan(4);
    }
    expect(heard).toMatchObject(accepted);
  });

  it('gets the whole, whatever is lost, doubled, out of order or cut by a restart', { timeout: 120_000 }, async () => {
    const happening = fc.constantFrom('come', 'come', 'come', 'lost', 'twice', 'late', 'restart', 'silence');
    const cases = fc.record({
      room: fc.integer({ min: 60, max: 300 }),
      what: fc.array(happening, { minLength: 1, maxLength: 60 }),
      isCompact: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ room, what, isCompact }) => {
        const device = startDevice();
        const reply = cutIntoParts(isCompact ? compact('accepted') : inWords(whole), room, 0, 1e12);
        let sending = 0;
        let heard: Record<string, unknown> = {};
        const hear = async (number: number) => {
          heard = await device.reply(reply.part(number));
          if (heard.event === 'ask') sending = Number(heard.part);
        };
        // when nothing more befalls it, everything comes
        for (let step = 0; heard.event !== 'accepted'; step++) {
          expect(step).toBeLessThan(1000);
          const fate = what[step] ?? 'come';
          if (fate === 'restart') {
            const { event, part } = await device.ask('restart');
            sending = event === 'ask' ? Number(part) : 0;
          } else if (fate === 'silence' || sending > reply.last) sending = Number((await device.ask('again')).part);
          else if (fate === 'lost') sending++;
          else if (fate === 'late' && sending < reply.last) {
            const before = sending;
            sending += 2;
            await hear(before + 1);
            if (heard.event !== 'accepted') await hear(before);
          } else {
            const now = sending++;
            await hear(now);
            if (fate === 'twice' && heard.event !== 'accepted') await hear(now);
          }
        }
        expect(heard).toMatchObject(accepted);
        for (const end of running.splice(0)) end();
      }),
      { numRuns: sized(300, 40) },
    );
  });

  it('reads the small messages that the gateway writes, whatever is in them', async () => {
    const device = startDevice();
    const number = fc.integer({ min: 0, max: 0xffffffff });
    const notices = fc.record({ position: number, etaSeconds: number, retryAfterSeconds: number });
    const id = fc.option(fc.string({ maxLength: 36, unit: fc.constantFrom(...'abcXYZ019-') }), { nil: undefined });
    const room = fc.integer({ min: 60, max: 400 });
    await fc.assert(
      fc.asyncProperty(notices, id, room, async (notice, ownId, bytes) => {
        const { position, etaSeconds, retryAfterSeconds: retryAfter } = notice;
        const pending = await device.reply(smallPending(notice, ownId, bytes) as Buffer);
        expect(pending).toMatchObject({ event: 'pending', position, etaSeconds, retryAfter });
        const refusal = {
          statusCode: 429,
          errorCode: 'Throttled',
          message: 'm'.repeat(bytes),
          retryAfterSeconds: retryAfter,
        };
        const rejected = await device.reply(smallRejected(refusal, ownId, bytes) as Buffer);
        expect(rejected).toMatchObject({ event: 'rejected', statusCode: 429, errorCode: 'Throttled', retryAfter });
        expect(refusal.message).toContain(rejected.errorMessage);
      }),
      { numRuns: sized(1000) },
    );
  });

  it('writes requests that the gateway reads, with the bytes of the CSR behind them', async () => {
    const device = startDevice();
    const csr = Buffer.alloc(300, 0x30);
    const requests = [await device.ask('request 0'), await device.ask(`request 4 ${csr.toString('hex')}`)];
    const [first, again] = requests.map(({ fault, bytes }) => {
      expect(fault).toBe('');
      return Buffer.from(String(bytes), 'hex');
    }) as [Buffer, Buffer];
    expect(decode(first)).toEqual(decode(payloadOf('request')));
    const parsed = parseRequest(Buffer.concat([again, csr]));
    expect(parsed).toMatchObject({
      ok: true,
      request: { part: 4, maxPacket: 128, csr: csr.toString('base64'), id: '7' },
    });
  });

  it('writes the golden acknowledgement', async () => {
    const id = createHash('sha256').update(Buffer.from(accepted.certificate, 'hex')).digest('hex');
    const { bytes } = await startDevice().ask(`ack ${id}`);
    expect(bytes).toBe(payloadOf('ack-bytes').toString('hex'));
    expect(parseAcknowledgement(Buffer.from(String(bytes), 'hex'))).toBe(id);
  });

  it('derives the pre-shared key of docs/protocol.md', async () => {
    const [serial, token] = ['SN-0001', 'kJ8vQ2mX4tZr7LwN0aYcBdEfGhI'];
    expect((await startDevice().ask(`psk ${serial} ${token}`)).bytes).toBe(derivePsk(serial, token).toString('hex'));
  });

  it('takes the time of the test vector, and none for another nonce or with another signature', async () => {
    const device = startDevice();
    const { nonce, cbor, time } = goldenTime;
    expect(await device.ask(`time ${nonce} ${cbor}`)).toEqual({ event: 'accepted', fault: '', time });
    const refused = { event: 'nothing', fault: 'the time is not signed for this nonce by the pinned key', time: 0 };
    expect(await device.ask(`time ${nonce.replace('0', '1')} ${cbor}`)).toEqual(refused);
    expect(await device.ask(`time ${nonce} ${cbor.replace('1a6b0a14a8', '1a6b0a14a9')}`)).toEqual(refused);
    const rejected = Buffer.from(
      encode({ status: 'rejected', statusCode: 429, errorCode: 'Throttled', errorMessage: 'x' }),
    );
    expect(await device.ask(`time ${nonce} ${rejected.toString('hex')}`)).toMatchObject({ errorCode: 'Throttled' });
  });

  it('reads nothing outside of a message, and keeps its promises, whatever the message', {
    timeout: 120_000,
  }, async () => {
    const fuzz = compile(join(build.path, 'fuzz'), [
      ...[`-I${sources}`, '-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
      ...inSources('fuzz.c', 'ram-store.c'),
      ...inExample('cvm_client.c', 'cvm_mqtt.c'),
      '-lmbedcrypto',
    ]);
    const small = ['pending', 'pending-unknown', 'rejected', 'rejected-for-good'].map(payloadOf);
    const maps = ['accepted', 'pending', 'rejected'].map(compact);
    const corpus = [...parts, ...small, ...maps, ...texts, Buffer.from(goldenTime.cbor, 'hex')];
    const running = promisify(execFile)(fuzz, ['1', String(sized(1_000_000))]);
    running.child.stdin?.end(`${corpus.map((each) => each.toString('hex')).join('\n')}\n`);
    const counts = JSON.parse((await running).stdout) as Record<string, number>;
    // each kind of message came through often enough to say something
    for (const [what, count] of Object.entries(counts)) expect(count, what).toBeGreaterThan(100);
  });
});

describe('examples/c', () => {
  it.skipIf(lacks('arm-none-eabi-gcc') || lacksC())(
    'fits a Cortex-M0+, without libc, within the bounds of its Makefile',
    () => {
      const build = buildFolder();
      try {
        const figures = make(build.path, 'cortex-m0');
        expect(figures).toMatch(/flash of the library \(Cortex-M0\+\) +\d+ bytes/);
        expect(figures).toMatch(/static RAM of the library +0 bytes/);
      } finally {
        build.remove();
      }
    },
  );
});
