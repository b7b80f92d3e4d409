import { decode, encode } from 'cborg';
import { describe, expect, it } from 'vitest';
import type { Answer } from '../../protocol/answer.ts';
import { maxPayloadBytes } from '../../protocol/dialect.ts';
import type { Encoding } from '../../protocol/encoding.ts';
import { fleetProvisioning } from '../../protocol/fleet-provisioning/dialect.ts';
import { problem } from '../../protocol/problems.ts';
import { create, createFromCsr, provision } from '../support/fleet-device.ts';

const certificateId = 'ab'.repeat(32);
const made: [string, number][] = [];
const session = {
  serial: 'SN',
  encoding: 'json' as Encoding,
  ownershipToken: (id: string, endsAt: number) => {
    made.push([id, endsAt]);
    return 'o'.repeat(92);
  },
};
const read = (topic: string, payload: Uint8Array | string = '') =>
  fleetProvisioning.read(topic, Buffer.from(payload), session);
const write = (answer: Answer, form: { topic: string; encoding: Encoding }) => {
  const written = fleetProvisioning.write(answer, form, session, 1000);
  if (written === undefined || 'parts' in written) throw new Error('not in one packet');
  const { topic, payload } = written;
  return { topic, payload, body: form.encoding === 'cbor' ? decode(payload) : JSON.parse(payload.toString()) };
};
const credentials = { certificateId, certificatePem: 'PEM', thingName: 'SN', endpoint: 'e', rootCaPem: 'r' };
const json = { topic: create('json'), encoding: 'json' } as const;

describe('what a device publishes by Fleet Provisioning', () => {
  it.each(['json', 'cbor'] as const)('is a request for a certificate, of the serial of its connection: %s', (form) => {
    const shared = { kind: 'request', serial: undefined, encoding: form };
    expect(read(create(form))).toMatchObject({ ...shared, request: { key: 'rsa' } });
    const fields = { certificateSigningRequest: 'CSR', other: 1 };
    const payload = form === 'cbor' ? encode(fields) : JSON.stringify(fields);
    expect(read(createFromCsr(form), payload)).toMatchObject({ ...shared, request: { csr: 'CSR' } });
  });

  it.each(['', '{}', '\0', 'anything', '[]', encode(null), encode({})])(
    'asks for a key pair whatever it is: %j',
    (payload) => {
      expect(read(create('cbor'), payload)).toMatchObject({ kind: 'request' });
    },
  );

  it.each(['json', 'cbor'] as const)('is a registration, with parameters or without: %s', (form) => {
    const payloadOf = (fields: object) => (form === 'cbor' ? encode(fields) : JSON.stringify(fields));
    const fields = { certificateOwnershipToken: 'o', parameters: { a: 'b' }, templateName: 'x' };
    const registration = { ownershipToken: 'o', templateName: 'pump', parameters: { a: 'b' } };
    expect(read(provision('pump', form), payloadOf(fields))).toMatchObject({ kind: 'registration', registration });
    for (const more of [{}, { parameters: null }])
      expect(read(provision('pump', form), payloadOf({ certificateOwnershipToken: 'o', ...more }))).toMatchObject({
        registration: { parameters: {} },
      });
  });

  it.each<[string, string | Uint8Array, string]>([
    [createFromCsr('json'), '{}', '"certificateSigningRequest" must be a string'],
    [createFromCsr('json'), '', 'the payload is empty'],
    [
      createFromCsr('json'),
      encode({ certificateSigningRequest: 'x' }),
      'this topic takes JSON, and the payload is CBOR',
    ],
    [create('json'), '{"certificateSigningRequest":"x"}', 'publish it to create-from-csr'],
    [provision('p', 'json'), '{}', 'Certificate ownership token cannot be empty.'],
    [
      provision('p', 'json'),
      '{"certificateOwnershipToken":"o","parameters":{"a":1}}',
      '"parameters" must be an object of texts',
    ],
    [provision('p'.repeat(37), 'json'), '{"certificateOwnershipToken":"o"}', 'at most 36 characters'],
    [create('json'), `"${'x'.repeat(maxPayloadBytes)}"`, 'at most 8192 are taken'],
    [
      provision('p', 'cbor'),
      encode({ certificateOwnershipToken: 'o', parameters: { a: '\u0001'.repeat(2000) } }),
      'the parameters have 12008 characters as JSON; at most 8192',
    ],
  ])('is unreadable where its payload is wrong, and is answered: %s', (topic, payload, message) => {
    expect(read(topic, payload)).toMatchObject({
      kind: 'unreadable',
      problem: { message: expect.stringContaining(message) },
      form: { topic },
    });
  });

  it.each([
    '$aws/certificates/create',
    '$aws/certificates/create/xml',
    `${create('json')}/accepted`,
    '$aws/things/SN/shadow/get',
    'cvm/request/SN',
  ])('is none of this dialect: %s', (topic) => expect(read(topic)).toBeUndefined());
});

describe('an answer by Fleet Provisioning', () => {
  it('is a certificate with its ownership token, which ends after an hour, and with the private key where there is one', () => {
    const accepted = { status: 'accepted', credentials } as const;
    const ownership = { certificateId, certificatePem: 'PEM', certificateOwnershipToken: 'o'.repeat(92) };
    for (const encoding of ['json', 'cbor'] as const) {
      const { topic, body } = write(accepted, { topic: create(encoding), encoding });
      expect([topic, body]).toEqual([`${create(encoding)}/accepted`, ownership]);
    }
    expect(made.at(-1)).toEqual([certificateId, 1000 + 3_600_000]);
    const withKey = { ...accepted, credentials: { ...credentials, privateKeyPem: 'KEY' } };
    expect(write(withKey, json).body).toEqual({ ...ownership, privateKey: 'KEY' });
  });

  it('fits a buffer of 2,048 bytes after a CSR, in both encodings, also with an RSA key', () => {
    // of AWS: the certificate of an RSA key, as PEM
    const certificatePem = `-----BEGIN CERTIFICATE-----\n${`${'M'.repeat(64)}\n`.repeat(18)}-----END CERTIFICATE-----\n`;
    expect(certificatePem.length).toBeGreaterThan(1204);
    for (const encoding of ['json', 'cbor'] as const) {
      const answer = { status: 'accepted', credentials: { ...credentials, certificatePem } } as const;
      const { topic, payload } = write(answer, { topic: createFromCsr(encoding), encoding });
      // fixed header, lengths of topic and packet, packet id
      expect(payload.length + topic.length + 7).toBeLessThan(2048);
    }
  });

  it('is the thing and its configuration', () => {
    const registered = { status: 'registered', thingName: 'SN', deviceConfiguration: { a: 'b' } } as const;
    const fields = { deviceConfiguration: { a: 'b' }, thingName: 'SN' };
    for (const encoding of ['json', 'cbor'] as const)
      expect(write(registered, { topic: provision('p', encoding), encoding })).toMatchObject({
        topic: `${provision('p', encoding)}/accepted`,
        body: fields,
      });
  });

  it('is a rejection with the three fields of AWS, and no others', () => {
    expect(write({ status: 'rejected', problem: problem('Throttled', 'too fast', 7) }, json)).toMatchObject({
      topic: `${create('json')}/rejected`,
      body: { statusCode: 429, errorCode: 'Throttled', errorMessage: 'too fast; ask again in 7 s' },
    });
  });

  it('is in no packet that is longer than the device takes: in its place stands how long it is, or as much of that as there is room for', () => {
    const registered = { status: 'registered', thingName: 'SN', deviceConfiguration: { a: 'b'.repeat(300) } } as const;
    const form = (encoding: Encoding) => ({ topic: provision('p', encoding), encoding });
    // fixed header of two bytes, or of three from 130 bytes on; lengths; packet id
    const bytesOf = ({ topic, payload }: { topic: string; payload: Buffer }) =>
      (payload.length + topic.length + 4 > 127 ? 3 : 2) + 2 + topic.length + 2 + payload.length;
    for (const encoding of ['json', 'cbor'] as const) {
      const whole = fleetProvisioning.write(registered, form(encoding), session, 0);
      if (whole === undefined || 'parts' in whole) throw new Error('not in one packet');
      const needed = bytesOf(whole);
      for (const extraBytes of [0, 5])
        for (const maxPacket of [160, 256, needed - 1, needed, needed + 5]) {
          const taking = { ...session, maxPacket, extraBytes: () => extraBytes };
          const written = fleetProvisioning.write(registered, form(encoding), taking, 0);
          if (written === undefined || 'parts' in written) throw new Error('not in one packet');
          expect(bytesOf(written) + extraBytes).toBeLessThanOrEqual(maxPacket);
          if (maxPacket >= needed + extraBytes) {
            expect(written).toEqual(whole);
            continue;
          }
          const told = encoding === 'cbor' ? decode(written.payload) : JSON.parse(written.payload.toString());
          expect([written.topic, told.errorCode]).toEqual([`${provision('p', encoding)}/rejected`, 'InvalidRequest']);
          expect(written.unfit?.message).toContain(`${needed + extraBytes} bytes are needed`);
          expect(written.unfit?.message.startsWith(told.errorMessage.slice(0, 20))).toBe(true);
        }
      // a size is there whole or not at all: 36 of 361 would be taken for the size
      for (let maxPacket = 140; maxPacket < 200; maxPacket++) {
        const written = fleetProvisioning.write(registered, form(encoding), { ...session, maxPacket }, 0);
        if (written === undefined || 'parts' in written) throw new Error('not in one packet');
        const { errorMessage } = encoding === 'cbor' ? decode(written.payload) : JSON.parse(written.payload.toString());
        expect((errorMessage as string).match(/\d+/)?.[0] ?? String(needed)).toBe(String(needed));
      }
      const tiny = { ...session, maxPacket: 80 };
      expect(fleetProvisioning.write(registered, form(encoding), tiny, 0)).toBeUndefined();
      const refused = { status: 'rejected', problem: problem('Throttled', 'x'.repeat(200), 7) } as const;
      const short = fleetProvisioning.write(refused, form(encoding), { ...session, maxPacket: 200 }, 0);
      if (short === undefined || 'parts' in short) throw new Error('not in one packet');
      expect(bytesOf(short)).toBeLessThanOrEqual(200);
    }
  });

  it('ends a wait that is too long for its clients with status 429, and says nothing of a short one', () => {
    const pending = { status: 'pending', position: 412, retryAfterSeconds: 51 } as const;
    expect(fleetProvisioning.whenPending(json, { ...pending, etaSeconds: 5 })).toBe('say-nothing');
    expect(fleetProvisioning.whenPending(json, { ...pending, etaSeconds: 43 })).toBe('end');
    // it was said to be short, and is not
    expect(fleetProvisioning.whenPending(json, { ...pending, etaSeconds: 5, waitedSeconds: 6 })).toBe('end');
    // nobody knows
    expect(fleetProvisioning.whenPending(json, pending)).toBe('end');
    const { topic, body } = write({ ...pending, etaSeconds: 43 }, json);
    expect(topic).toBe(`${create('json')}/rejected`);
    expect(body).toEqual({
      statusCode: 429,
      errorCode: 'Throttled',
      errorMessage: expect.stringMatching(/number 412 in the line.*ask again in 51 s$/),
    });
  });
});
