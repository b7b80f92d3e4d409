import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type MqttClient } from 'mqtt';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import type { FleetFault } from './faults.ts';

/*
 * The program of a device that speaks Fleet Provisioning, in MQTT 3.1.1, with a CSR. It has no fault but those that DEVICE_FAULTS names. With
 * DEVICE_CLAIM=1 it shows a claim certificate, and no token.
 */

const { CVM_SERIAL: serial = '', CVM_TEMPLATE: template, CVM_STATE: folder = '', DEVICE_FAULTS = '' } = process.env;
const faults = new Set(DEVICE_FAULTS.split(','));
const has = (fault: FleetFault) => faults.has(fault);
const create = '$aws/certificates/create-from-csr/json';
const provision = `$aws/provisioning-templates/${template}/provision/json`;
const answerMs = 15_000;

type Answer = { statusCode?: number; errorCode?: string; errorMessage?: string; certificateOwnershipToken?: string };

const flash = (name: string) => join(folder, name);
const inFlash = (name: string) => (existsSync(flash(name)) ? readFileSync(flash(name), 'utf8') : undefined);

async function csr(): Promise<string> {
  const kept = inFlash('csr');
  if (kept !== undefined) return kept;
  const { csrPem } = await makeDeviceKey(serial);
  writeFileSync(flash('csr'), csrPem);
  return csrPem;
}

function proof() {
  const { DEVICE_CLAIM, CVM_TOKEN: password = '', CVM_CLAIM_CERT = '', CVM_CLAIM_KEY = '' } = process.env;
  if (DEVICE_CLAIM !== '1') return { username: serial, password };
  return { cert: readFileSync(CVM_CLAIM_CERT), key: readFileSync(CVM_CLAIM_KEY) };
}

function open(): Promise<MqttClient> {
  const { CVM_HOST: host = '', CVM_PORT: port, CVM_CA: ca = '' } = process.env;
  const client = connect({
    ...{ protocol: 'mqtts', host, port: Number(port), ca: readFileSync(ca), ...proof() },
    ...(has('takes-ecdsa-only') ? { ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' } : {}),
    reconnectPeriod: 0,
  });
  return new Promise((resolve, reject) => {
    client.on('error', reject);
    client.once('close', () => reject(new Error('closed')));
    client.once('connect', () => resolve(client));
  });
}

/** @throws Error when the connection ends, or no answer comes */
function ask(client: MqttClient, topic: string, fields: object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('no answer')), answerMs).unref();
    client.once('close', () => reject(new Error('closed')));
    client.on('message', (from, payload) => {
      if (from.startsWith(`${topic}/`)) resolve(JSON.parse(payload.toString()) as Answer);
    });
    client.publish(topic, JSON.stringify(fields), { qos: 1 });
  });
}

/** @returns the seconds after which to ask again; undefined when it is registered */
async function attempt(): Promise<number | undefined> {
  const client = await open();
  try {
    let ownership = has('begins-anew') ? undefined : inFlash('ownership');
    if (ownership === undefined) {
      const created = await ask(client, create, { certificateSigningRequest: await csr() });
      if (created.statusCode !== undefined) return refused(created);
      ownership = created.certificateOwnershipToken ?? '';
      writeFileSync(flash('ownership'), ownership);
    }
    if (has('never-asks-to-be-registered')) return undefined;
    const parameters = { SerialNumber: serial };
    const answer = await ask(client, provision, { certificateOwnershipToken: ownership, parameters });
    if (answer.statusCode === undefined) return undefined;
    if (answer.errorCode !== 'InvalidCertificateOwnershipToken' || has('gives-up-at-the-end-of-its-ownership-token'))
      return refused(answer);
    rmSync(flash('ownership'));
    return 1;
  } finally {
    await client.endAsync(true);
  }
}

function refused({ statusCode = 0, errorMessage = '' }: Answer): number {
  const [, seconds] = /ask again in (\d+) s$/.exec(errorMessage) ?? [];
  if (seconds !== undefined) return has('ignores-retry-after') ? 0.3 : Number(seconds);
  if (statusCode === 429 || statusCode >= 500 || has('asks-after-a-refusal')) return 2;
  process.exit(1);
}

for (let pause = 1; ; pause *= 2) {
  const again = await attempt().catch(() => pause * (1 + Math.random() / 4));
  if (again === undefined) process.exit(0);
  await sleep(again * 1000);
}
