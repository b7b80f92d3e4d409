import { execFileSync } from 'node:child_process';
import { hkdfSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fleetTemplate } from '../../support/fleet-device.ts';
import { openRelay } from '../counting-relay.ts';
import type { Row, RowContext } from '../row.ts';
import type { Gateway } from '../site.ts';
import { connectWireDevice, type WireTls } from '../wire-device.ts';
import { type Provisioning, provision, provisionFleet } from '../wire-flows.ts';

type Case = {
  readonly name: string;
  readonly tls: Omit<WireTls, 'ca' | 'psk'> & { readonly psk?: true };
  readonly encoding?: 'json' | 'cbor';
  readonly protocolVersion?: 4 | 5;
  /** the device sends a CSR: as PEM, as base64 of its DER, or as DER */
  readonly csr?: 'pem' | 'base64' | 'bytes';
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly lean?: true;
  readonly fleet?: true;
  /** what it has more than the case before, which comes in one packet, is stated */
  readonly inParts?: true;
  /** bytes; what was seen, rounded up, so that growth is noticed: the names in the server's certificate differ from one machine to the next */
  readonly goal: number;
};

const tls12 = { version: 'TLSv1.2', suite: 'ECDHE-ECDSA-AES128-GCM-SHA256' } as const;
const tls13 = { version: 'TLSv1.3', suite: 'TLS_AES_128_GCM_SHA256' } as const;
const psk12 = (suite: string) => ({ version: 'TLSv1.2', suite, psk: true }) as const;
const psk13 = { ...tls13, psk: true } as const;
const smallest = { encoding: 'cbor', csr: 'bytes', fields: { format: 'compact', rootCa: false } } as const;
const der = { ...smallest, fields: { format: 'der', rootCa: false } } as const;
const gcm = psk12('PSK-AES128-GCM-SHA256');

/** A whole provisioning each: TCP connection, TLS, CONNECT to DISCONNECT, with the acknowledgement. docs/performance.md shows them. */
const cases: readonly Case[] = [
  { name: 'certificate TLS 1.3, JSON, PEM, rsa', tls: tls13, goal: 6800 },
  { name: 'certificate TLS 1.2, JSON, PEM, rsa', tls: tls12, goal: 6300 },
  { name: 'certificate TLS 1.2, JSON, PEM, ec', tls: tls12, fields: { key: 'ec' }, goal: 4600 },
  { name: 'certificate TLS 1.2, JSON, PEM, CSR', tls: tls12, csr: 'pem', goal: 4650 },
  { name: 'certificate TLS 1.3, JSON, PEM, CSR, MQTT 5', tls: tls13, csr: 'pem', protocolVersion: 5, goal: 5200 },
  { name: 'certificate TLS 1.3, JSON, PEM, CSR', tls: tls13, csr: 'pem', goal: 5150 },
  {
    name: 'certificate TLS 1.2, JSON, DER, CSR, no root CA',
    tls: tls12,
    csr: 'base64',
    fields: der.fields,
    goal: 3300,
  },
  { name: 'certificate TLS 1.3, CBOR, DER, CSR', tls: tls13, ...smallest, fields: { format: 'der' }, goal: 4300 },
  { name: 'certificate TLS 1.2, CBOR, DER, CSR', tls: tls12, ...smallest, fields: { format: 'der' }, goal: 3800 },
  { name: 'certificate TLS 1.2, CBOR, DER, CSR, no root CA', tls: tls12, ...der, goal: 2950 },
  { name: 'PSK TLS 1.3, CBOR, DER, CSR, no root CA', tls: psk13, ...der, goal: 2350 },
  {
    name: 'PSK TLS 1.2 (ECDHE, ChaCha20), CBOR, DER, CSR, no root CA',
    tls: psk12('ECDHE-PSK-CHACHA20-POLY1305'),
    ...der,
    lean: true,
    goal: 2000,
  },
  { name: 'PSK TLS 1.2 (AES-GCM), CBOR, DER, CSR, no root CA, as libraries do', tls: gcm, ...der, goal: 2000 },
  { name: 'PSK TLS 1.2 (AES-GCM), CBOR, DER, CSR, no root CA', tls: gcm, ...der, lean: true, goal: 2000 },
  {
    name: 'PSK TLS 1.2 (AES-CCM-8), CBOR, DER, CSR, no root CA',
    tls: psk12('PSK-AES128-CCM8'),
    ...der,
    lean: true,
    goal: 2000,
  },
  {
    name: 'PSK TLS 1.2 (AES-CCM-8), CBOR, compact, CSR, no root CA',
    tls: psk12('PSK-AES128-CCM8'),
    ...smallest,
    lean: true,
    goal: 2000,
  },
  {
    name: 'the same in packets of 256 bytes',
    tls: psk12('PSK-AES128-CCM8'),
    ...smallest,
    fields: { ...smallest.fields, maxPacket: 256 },
    lean: true,
    inParts: true,
    goal: 2050,
  },
  {
    name: 'the same in packets of 128 bytes',
    tls: psk12('PSK-AES128-CCM8'),
    ...smallest,
    fields: { ...smallest.fields, maxPacket: 128 },
    lean: true,
    inParts: true,
    goal: 2400,
  },
  { name: 'Fleet Provisioning, certificate TLS 1.2, JSON, CSR', tls: tls12, fleet: true, goal: 4050 },
  { name: 'Fleet Provisioning, certificate TLS 1.2, CBOR, CSR', tls: tls12, fleet: true, encoding: 'cbor', goal: 4000 },
];

/** The stand-in has a shorter one; each answer of our own protocol is counted with AWS's. */
const awsEndpoint = 'a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com';

/** What the certificate's serial and the signatures of DER vary by, in bytes; of several runs the median is taken. */
const runs = 3;

export const wire: Row = {
  name: 'wire',
  title: 'bytes of one whole provisioning, both ways, TLS included',
  minutes: 2,
  async run({ sites, say }: RowContext) {
    const templates = sites.folder('templates');
    writeFileSync(join(templates, 'pump.json'), JSON.stringify(fleetTemplate()));
    const aws = await sites.startAws({ quotas: 'off', keyPool: 2 * runs });
    const gateway = await sites.startGateway(aws, { CVM_TEMPLATES_DIR: templates });
    const enrolled = await enrol(gateway, cases.length * runs);
    const figures = [];
    let whole = 0;
    for (const each of cases) {
      const measured = [];
      for (let run = 0; run < runs; run++) measured.push(await measure(gateway, each, enrolled.pop()));
      const { total, detail } = measured.sort((a, b) => a.total - b.total)[Math.floor(runs / 2)] ?? notMeasured;
      if (!each.inParts) whole = total;
      const more = each.inParts ? `, ${total - whole} more than in one packet` : '';
      say(`${each.name}: ${total} (${detail}${more})`);
      figures.push({
        name: each.name,
        value: total,
        unit: `bytes (${detail}${more})`,
        goal: `≤ ${each.goal}`,
        holds: total <= each.goal,
      });
    }
    await gateway.close();
    return { figures };
  },
};

const notMeasured = { total: Number.POSITIVE_INFINITY, detail: 'not measured' };

type Enrolled = { readonly serial: string; readonly token: string };

/** Serials of twelve characters, as a MAC address without colons has. */
async function enrol(gateway: Gateway, devices: number): Promise<Enrolled[]> {
  const serials = Array.from({ length: devices }, (_, index) => `AABBCCDD${String(index).padStart(4, '0')}`);
  const lines = await gateway.cvm('devices', 'add', ...serials, '--json');
  return lines
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Enrolled);
}

async function measure(gateway: Gateway, each: Case, enrolled: Enrolled | undefined) {
  if (enrolled === undefined) throw new Error('too few devices are enrolled');
  const { serial, token } = enrolled;
  const { encoding = 'json', protocolVersion = 4, fields = {}, lean = false } = each;
  const { psk: byKey, ...tls } = each.tls;
  const key = { identity: serial, psk: Buffer.from(hkdfSync('sha256', token, serial, 'cvm-gateway tls psk v1', 32)) };
  const by = byKey ? { psk: key } : { ca: readFileSync(gateway.caFile, 'utf8') };
  const csr = newCsr(serial);
  const asked: Provisioning = {
    serial,
    encoding,
    protocolVersion,
    ...(byKey ? {} : { token }),
    lean,
    fields: { ...(each.csr === undefined ? {} : { csr: csr[each.csr] }), ...fields },
  };
  const { relay, device } = await connected(gateway.port, { ...tls, ...by }, protocolVersion);
  try {
    let missing = 0;
    if (each.fleet) await provisionFleet(device, asked, csr.pem);
    else missing = awsEndpoint.length - (await provision(device, asked)).endpoint.length;
    // what is still on its way when the device has closed
    await sleep(50);
    const { fromDevice, toDevice, records } = relay.counted();
    const mqtt = device.mqttBytes() + missing;
    const total = fromDevice + toDevice + missing;
    const detail = `${fromDevice} from the device, ${toDevice + missing} to it; ${mqtt} MQTT, ${total - mqtt} TLS in ${records} records`;
    return { total, detail };
  } finally {
    await relay.close();
  }
}

/** A gateway can use a pre-shared key some seconds after the device was enrolled; only the last connection is counted. */
async function connected(port: number, tls: WireTls, protocolVersion: 4 | 5) {
  for (let left = 60; ; left--) {
    const relay = await openRelay(port);
    try {
      return { relay, device: await connectWireDevice(relay.port, tls, protocolVersion) };
    } catch (error) {
      await relay.close();
      if (left === 0 || tls.psk === undefined) throw error;
      await sleep(500);
    }
  }
}

/** A new P-256 key and its CSR, in the forms in which requests have it. */
function newCsr(serial: string) {
  const command = 'req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -outform DER -subj';
  const bytes = execFileSync('openssl', [...command.split(' '), `/CN=${serial}`], { stdio: 'pipe' });
  const base64 = bytes.toString('base64');
  const lines = base64.match(/.{1,64}/g)?.join('\n');
  return {
    bytes,
    base64,
    pem: `-----BEGIN CERTIFICATE REQUEST-----\n${lines}\n-----END CERTIFICATE REQUEST-----\n`,
  };
}
