import { readFileSync } from 'node:fs';
import { decode as decodeCbor } from 'cborg';
import { describe, expect, it } from 'vitest';
import { type CvmAnswer, encodeReply } from '../../protocol/cvm/reply.ts';
import { defaultForm } from '../../protocol/cvm/request.ts';
import { problem, statusCodes } from '../../protocol/problems.ts';

const pem = '-----BEGIN CERTIFICATE-----\nAAEC\nAwQF\n-----END CERTIFICATE-----\n';
const credentials = { certificateId: 'id', certificatePem: pem, thingName: 'SN', endpoint: 'e', rootCaPem: pem };
const accepted = { status: 'accepted', credentials } as const;
const json = defaultForm('json');
const decode = (buffer: Buffer) => JSON.parse(buffer.toString()) as Record<string, unknown>;

describe('a reply', () => {
  it('carries the credentials, the id of the request and the time in seconds', () => {
    expect(
      decode(
        encodeReply(
          { status: 'accepted', credentials: { ...credentials, privateKeyPem: pem } },
          { ...json, id: 'r' },
          1500,
        ),
      ),
    ).toEqual({
      status: 'accepted',
      id: 'r',
      certificateId: 'id',
      certificatePem: pem,
      privateKey: pem,
      thingName: 'SN',
      endpoint: 'e',
      rootCa: pem,
      time: 1,
    });
  });

  it('has its keys in CBOR in the order that docs/protocol.md tells', () => {
    const page = readFileSync('docs/protocol.md', 'utf8');
    const form = { ...defaultForm('cbor'), id: 'r' };
    const answers: CvmAnswer[] = [
      { status: 'accepted', credentials: { ...credentials, privateKeyPem: pem } },
      { status: 'rejected', problem: problem('Throttled', 'later', 1) },
      { status: 'pending', position: 7, etaSeconds: 40, retryAfterSeconds: 60 },
    ];
    for (const answer of answers) {
      const keys = [...(decodeCbor(encodeReply(answer, form, 0), { useMaps: true }) as Map<string, unknown>).keys()];
      expect(page.replace(/\s+/g, ' ')).toContain(keys.map((key) => `\`${key}\``).join(', '));
    }
  });

  it('has no private key where the device made it', () => {
    expect(decode(encodeReply(accepted, json, 0))).not.toHaveProperty('privateKey');
  });

  it('writes certificates as base64 of the DER where the device asked for it', () => {
    expect(decode(encodeReply(accepted, { ...json, format: 'der' }, 0))).toMatchObject({
      certificatePem: 'AAECAwQF',
      rootCa: 'AAECAwQF',
    });
  });

  it('has the same fields in CBOR where the device asked in CBOR; DER is written as bytes there', () => {
    const cbor = { ...json, encoding: 'cbor' } as const;
    const plain = encodeReply(accepted, json, 0);
    expect(decodeCbor(encodeReply(accepted, cbor, 0))).toEqual(decode(plain));
    expect(decodeCbor(encodeReply(accepted, { ...cbor, format: 'der' }, 0))).toMatchObject({
      certificatePem: new Uint8Array([0, 1, 2, 3, 4, 5]),
      rootCa: new Uint8Array([0, 1, 2, 3, 4, 5]),
    });
  });

  it('has numbers as keys where the device asked for the compact form, and the id of the certificate as bytes', () => {
    const form = { ...json, encoding: 'cbor', format: 'compact', id: 'r' } as const;
    const read = (answer: CvmAnswer) =>
      new Map(decodeCbor(encodeReply(answer, form, 1500), { useMaps: true }) as Map<number, unknown>);
    const certificateId = 'ab'.repeat(32);
    const der = new Uint8Array([0, 1, 2, 3, 4, 5]);
    expect(read({ status: 'accepted', credentials: { ...credentials, certificateId, privateKeyPem: pem } })).toEqual(
      new Map<number, unknown>([
        [0, 1],
        [1, 'r'],
        [2, new Uint8Array(32).fill(0xab)],
        [3, der],
        [4, der],
        [5, 'SN'],
        [6, 'e'],
        [7, der],
        [8, 1],
      ]),
    );
    expect(read({ status: 'pending', position: 7, etaSeconds: 40, retryAfterSeconds: 60 })).toEqual(
      new Map<number, unknown>([
        [0, 2],
        [1, 'r'],
        [8, 1],
        [9, 7],
        [10, 40],
        [11, 60],
      ]),
    );
    expect(read({ status: 'rejected', problem: problem('Throttled', 'later', 1) })).toEqual(
      new Map<number, unknown>([
        [0, 3],
        [1, 'r'],
        [11, 1],
        [12, 429],
        [13, 'Throttled'],
        [14, 'later'],
      ]),
    );
  });

  it('says how long the device may have to wait, when to ask again if it leaves, and the time', () => {
    const pending = { status: 'pending', position: 7, etaSeconds: 40, retryAfterSeconds: 60 } as const;
    const fields = { status: 'pending', id: 'r', position: 7, etaSeconds: 40, retryAfter: 60, time: 1 };
    expect(decode(encodeReply(pending, { ...json, id: 'r' }, 1500))).toEqual(fields);
    expect(decodeCbor(encodeReply(pending, { ...json, encoding: 'cbor', id: 'r' }, 1500))).toEqual(fields);
  });

  it.each(Object.entries(statusCodes))('always has all three error fields: %s %i', (code, statusCode) => {
    const reply = decode(
      encodeReply({ status: 'rejected', problem: problem(code as keyof typeof statusCodes, 'why') }, json, 0),
    );
    expect(reply).toEqual({ status: 'rejected', statusCode, errorCode: code, errorMessage: 'why' });
  });
});
