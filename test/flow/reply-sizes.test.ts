import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { encode } from 'cborg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { readPayload } from '../../protocol/encoding.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, packet, publishOf, type RawPacket, text } from '../support/raw-mqtt.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/protocol.md'), 'utf8');

/** A signature and the serial number of a certificate differ by some bytes from one certificate to the next. */
const tolerance = 16;

/** As the page lists them: who makes the key, then with the CA certificate and without it. */
const keys = ['rsa', 'ec', 'CSR'] as const;
const forms = [
  ['json', 'pem'],
  ['json', 'der'],
  ['cbor', 'pem'],
  ['cbor', 'der'],
] as const;

/** The numbers of the rows of the page's table of sizes. */
const rows = [...page.matchAll(/^\| `?(rsa|ec|CSR)`?(, without `rootCa`)? +\|(.*)\|$/gm)].map(
  ([, key, without, cells = '']) => ({
    key,
    rootCa: without === undefined,
    sizes: cells.split('|').map((cell) => Number(cell.replace(/\D/g, ''))),
  }),
);

describe.skipIf(lacks('redis-server') || lacks('openssl'))('the sizes of replies on docs/protocol.md', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  const csr = () =>
    execFileSync(
      'openssl',
      [
        'req',
        '-new',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-keyout',
        '/dev/null',
        '-subj',
        '/CN=device',
      ],
      { stdio: 'pipe' },
    ).toString();
  const wholeBytes = ({ type, flags, body }: RawPacket) => packet((type << 4) | flags, body).length;

  /** Bytes of the whole MQTT packet of each answer, in the order of the table. */
  async function measure(key: (typeof keys)[number], serial: string, more: { id?: string } = {}) {
    const { token } = await gateway.enrolOnRoster(serial);
    const asked = key === 'CSR' ? { csr: csr() } : { key };
    const device = await connectRaw(gateway.broker);
    device.send(connectWith('m', { flags: 0xc2, payload: [text(serial), text(token)] }));
    const measured: { key: string; rootCa: boolean; sizes: number[] }[] = [];
    for (const rootCa of [true, false]) {
      const sizes: number[] = [];
      for (const [encoding, format] of forms) {
        const request = { ...asked, ...more, format, rootCa, pending: false };
        const before = device.heard.length;
        device.send(
          publishOf(requestTopic(serial), encoding === 'json' ? JSON.stringify(request) : Buffer.from(encode(request))),
        );
        const reply = () => device.heard.slice(before).find(({ type }) => type === 3);
        await expect.poll(reply).toBeDefined();
        sizes.push(wholeBytes(reply() as RawPacket));
      }
      measured.push({ key, rootCa, sizes });
    }
    device.socket.destroy();
    return measured;
  }

  it('are those of whole MQTT packets as they come, for a serial of 12 characters and no id', async () => {
    const measured = [];
    for (const [index, key] of keys.entries()) measured.push(...(await measure(key, `AABBCCDDEE0${index}`)));
    const table = measured.map(
      ({ key, rootCa, sizes }) => `| ${key}${rootCa ? '' : ', without `rootCa`'} | ${sizes.join(' | ')} |`,
    );
    expect(
      rows.map(({ key, rootCa }) => [key, rootCa]),
      table.join('\n'),
    ).toEqual(measured.map(({ key, rootCa }) => [key, rootCa]));
    for (const [index, { sizes }] of measured.entries())
      for (const [column, size] of sizes.entries())
        expect(Math.abs(size - (rows[index]?.sizes[column] ?? 0)), table.join('\n')).toBeLessThanOrEqual(tolerance);
  });

  it('grow by at most four bytes for each further character of the serial, and by the id and eight', async () => {
    expect(page).toContain('4 for each further character of the serial');
    const [serial, id] = ['0f8fad5b-d9cb-469f-a165-70867728950e', 'i'.repeat(36)];
    for (const { key, rootCa, sizes } of await measure('ec', serial, { id })) {
      const row = rows.find((each) => each.key === key && each.rootCa === rootCa);
      const grown = sizes.map((size, column) => size - (row?.sizes[column] ?? 0));
      for (const each of grown) expect(each, String(grown)).toBeLessThanOrEqual(4 * 24 + id.length + 8 + tolerance);
      // more than the page's 64 bytes for all else
      expect(Math.max(...grown)).toBeGreaterThan(64);
    }
  });

  it('go with messages of the forms that the page shows', () => {
    const section = page.slice(page.indexOf('### How long is it?'), page.indexOf('## Waiting'));
    const shown = [...section.matchAll(/^\{"status":.*\}$/gm)].map(([message]) => readPayload(Buffer.from(message)));
    expect(shown).toEqual([
      { value: expect.objectContaining({ status: 'accepted', certificatePem: expect.stringContaining('BEGIN') }) },
      {
        value: {
          status: 'rejected',
          id: '7',
          statusCode: 429,
          errorCode: 'Throttled',
          errorMessage: expect.any(String),
          retryAfter: 1,
        },
      },
    ]);
  });
});
