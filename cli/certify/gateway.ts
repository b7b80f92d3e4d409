import { createHash, X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import type { App } from '../../app/app.ts';
import { keepAudit } from '../../app/app.ts';
import { connectTable } from '../../app/aws.ts';
import { connectOperator } from '../../app/operator.ts';
import { otherCertificates, type ServerCertificate, type SiteCa } from '../../certify/certificates.ts';
import type { CertifyGateway } from '../../certify/run-case.ts';
import { addClaim } from '../../operator/claims.ts';
import { remove } from '../../operator/decisions.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import { enrol } from '../../operator/enrol.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { signedTimeBytes } from '../../protocol/time.ts';
import { isThere } from '../../runtime/is-there.ts';
import type { Settings } from '../../runtime/settings.ts';
import { signClaim } from '../../site-tls/certificates.ts';
import { tlsFilesIn } from '../../site-tls/material.ts';
import { loadTimeKey, pointOf } from '../../site-tls/time-key.ts';
import { startAll } from '../services/up.ts';

/**
 * The settings of a gateway that only certifies. It has its own folder and free ports, stands behind the relay, keeps to no quotas, and never
 * uses an AWS account.
 */
export function certifySettings(settings: Settings): Settings {
  const dataDir = join(settings.dataDir, 'certify');
  return {
    ...settings,
    dataDir,
    auditDir: join(dataDir, 'audit'),
    healthDir: dataDir,
    templatesDir: join(dataDir, 'templates'),
    aws: {},
    awsEnvironment: {},
    awsVariables: [],
    awsQuotas: {},
    awsLocal: { ...settings.awsLocal, httpPort: 0, mqttPort: 0, quotas: 'off' },
    proxy: {},
    proxyFrom: [],
    redisUrl: undefined,
    redisReplicas: undefined,
    rootCaFile: undefined,
    claims: { on: true, caFile: undefined },
    site: undefined,
    tls: undefined,
    tlsKeyType: 'ec',
    listen: '127.0.0.1',
    mqttPort: 0,
    // devices in cases go wild, and all come from one address
    maxConnectionsPerAddress: settings.maxConnections,
  };
}

/** The smallest provisioning template: the device says its serial as `SerialNumber`. */
const smallestTemplate = {
  Parameters: { SerialNumber: { Type: 'String' } },
  Resources: {
    thing: { Type: 'AWS::IoT::Thing', Properties: { ThingName: { Ref: 'SerialNumber' } } },
    certificate: {
      Type: 'AWS::IoT::Certificate',
      Properties: { CertificateId: { Ref: 'AWS::IoT::Certificate::Id' }, Status: 'Active' },
    },
  },
};

/**
 * Gives the gateway the provisioning template of the device, before it starts.
 * @param file an own one, in the place of the smallest
 */
export function writeTemplate({ templatesDir }: Settings, name: string, file?: string): void {
  rmSync(templatesDir, { recursive: true, force: true });
  mkdirSync(templatesDir, { recursive: true, mode: 0o700 });
  const body = file === undefined ? JSON.stringify(smallestTemplate) : readFileSync(file, 'utf8');
  writeFileSync(join(templatesDir, `${name}.json`), body);
}

/**
 * A gateway on the local stand-in, as `cvm up --local-aws` starts it.
 * @param app with `certifySettings` @param template by which devices may ask to be registered; see `writeTemplate`
 */
export async function startCertifyGateway(app: App, template: string): Promise<CertifyGateway> {
  const gateway = await startAll(app, { localAws: true, processes: 1 }, () => {});
  const { tls, port } = gateway;
  const { caPem, caFile } = tls;
  if (caPem === undefined || caFile === undefined) throw new Error('the gateway of a certification has no site CA');
  const siteCa = { cert: caPem, key: readFileSync(tlsFilesIn(app.settings.dataDir).caKey, 'utf8') };
  const timeKey = await loadTimeKey(app.settings.dataDir);
  const operator = connectOperator(gateway.app, keepAudit(gateway.app, 'cvm'));
  return {
    port,
    ca: caPem,
    caFile,
    template,
    claim: await claimFor(gateway.app, siteCa, template, operator),
    timeKey: pointOf(timeKey.publicKeyPem).toString('hex'),
    signTime: (nonce, seconds) => timeKey.sign(signedTimeBytes(nonce, seconds)),
    certificates: {
      right: { key: tls.key, cert: tls.cert },
      ...(await otherCertificates(siteCa, tls.names, Date.now())),
    },
    async enrolAnew(serial, token) {
      await enrolAnew(serial, token, operator);
      await untilKnown(serial, token, port);
    },
    certificateOf: async (serial) => (await operator.registry.find(serial))?.certificateId,
  };
}

/** Of all devices that are tested. */
const claimGroup = 'certify';
/** Every case may ask for some, and no number of this claim certificate is to be reached by itself. */
const [mostOfClaim, claimDays, day] = [1_000_000, 3650, 86_400_000];

/** The same in all runs, so that firmware which has it built in needs no rebuild. */
async function claimFor(app: App, siteCa: SiteCa, templateName: string, { audit, now }: OperatorDeps) {
  const { dataDir } = app.settings;
  const [certFile, keyFile] = [join(dataDir, 'claim.crt'), join(dataDir, 'claim.key')];
  const endsAt = now() + claimDays * day;
  if (!isClaimOf(siteCa, certFile, now())) {
    const made = await signClaim(tlsFilesIn(dataDir), { group: claimGroup, endsAt }, new Date(now()));
    writeFileSync(keyFile, made.key, { mode: 0o600 });
    writeFileSync(certFile, made.cert);
  }
  const claim: ServerCertificate = { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
  const id = createHash('sha256').update(new X509Certificate(claim.cert).raw).digest('hex');
  const limits = { templateName, serials: '*', most: mostOfClaim, mostAnHour: mostOfClaim, endsAt };
  // one that the table has already, with another template, stays as it is
  await addClaim({ id, group: claimGroup, ...limits }, { claims: connectTable(app, 'operator').claims, audit, now });
  return { ...claim, certFile, keyFile };
}

function isClaimOf({ cert }: SiteCa, file: string, now: number): boolean {
  if (!isThere(file)) return false;
  const claim = new X509Certificate(readFileSync(file));
  return claim.verify(new X509Certificate(cert).publicKey) && Date.parse(claim.validTo) > now + 30 * day;
}

/**
 * The gateway learns of a new device within two or ten seconds, and after a missing announcement when it has compared the whole table (docs/roster.md); a
 * real one was enrolled long before it connects. Milliseconds.
 */
const [knownMs, lookMs] = [60_000, 200];

/** Waits until the gateway knows the token of the device, which shows in a handshake by its pre-shared key. */
async function untilKnown(serial: string, token: string, port: number): Promise<void> {
  const end = performance.now() + knownMs;
  while (!(await isKnown(serial, token, port))) {
    if (performance.now() > end) throw new Error(`the gateway has not heard of ${serial} in ${knownMs / 1000} s`);
    await sleep(lookMs);
  }
}

function isKnown(serial: string, token: string, port: number): Promise<boolean> {
  const socket = connect({
    ...{ host: '127.0.0.1', port, maxVersion: 'TLSv1.2', ciphers: 'PSK-AES128-GCM-SHA256' },
    pskCallback: () => ({ identity: serial, psk: derivePsk(serial, token) }),
    // it has none
    checkServerIdentity: () => undefined,
  });
  return new Promise((resolve) => {
    const tell = (known: boolean) => {
      socket.destroy();
      resolve(known);
    };
    socket.setTimeout(5000, () => tell(false));
    socket.once('secureConnect', () => tell(true)).once('error', () => tell(false));
  });
}

/** The device of the case before may be in the middle of an attempt: it is ended. */
async function enrolAnew(serial: string, token: string, operator: OperatorDeps): Promise<void> {
  if ((await operator.registry.find(serial)) !== undefined) {
    const removed = await remove(serial, 'with-thing', operator, { ms: 0, force: true });
    if (removed.outcome !== 'removed') throw new Error(`${serial} was not removed: ${removed.outcome}`);
  }
  const [device] = (await enrol([{ serial, token, claimGroup }], operator)).outcomes;
  if (device?.outcome === 'enrolled') return;
  const why = device?.outcome === 'invalid' ? device.reason : device?.outcome;
  throw new Error(`${serial} was not enrolled: ${why}`);
}
