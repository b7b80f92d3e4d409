import { X509Certificate } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type GatewayIdentity, identityFile, readGatewayIdentity } from '../aws/gateway-identity.ts';
import { fetchCredentials, RoleAliasError } from '../aws/role-alias.ts';
import { createAwsIssuer } from '../issuer/aws-iot.ts';
import { activateGateway, certifyGateway, credentialsEndpoint } from '../issuer/gateway-setup.ts';
import type { IotCalls } from '../issuer/iot-calls.ts';
import type { Log } from '../runtime/log.ts';
import type { Settings } from '../runtime/settings.ts';
import { withFolderLock, writeFileAtomic } from '../site-tls/files.ts';
import { isContainerId } from '../site-tls/server-names.ts';
import { makeEcKey } from '../worker/ec-key.ts';
import type { App } from './app.ts';
import { iotFor } from './aws.ts';

/** A certificate that ends so soon is replaced. Those that AWS signs end with the year 2049; those of a CA of your own may end before. */
const renewDays = 30;

const dayMs = 86_400_000;

/** Whether the gateway's certificate for AWS must be replaced soon. @param now epoch milliseconds */
export function endsSoon(certFile: string, now: number): boolean {
  if (!existsSync(certFile)) return false;
  return Date.parse(new X509Certificate(readFileSync(certFile)).validTo) - now < renewDays * dayMs;
}

/**
 * The thing that a gateway is, unless its operator names it: the one that it is already, or one of its site or machine. AWS's thing names have
 * no dots. @returns undefined in a container, whose name is another one with each start
 */
export function usualThingName(
  { site, machineName }: Pick<Settings, 'site' | 'machineName'>,
  own?: Pick<GatewayIdentity, 'thingName'>,
): string | undefined {
  if (own !== undefined) return own.thingName;
  if (site === undefined && isContainerId(machineName)) return undefined;
  return `cvm-gateway-${(site ?? machineName).replace(/[^\w:-]/g, '-')}`.slice(0, 128);
}

type Renewal = Pick<Settings, 'gatewayCertificate' | 'rootCaFile' | 'proxy'> & {
  readonly iot: IotCalls;
  readonly log: Log;
  readonly thingName: string;
  readonly roleAlias: string;
  /** of a stand-in, whose credentials provider is not at port 443 */
  readonly port?: number | undefined;
  /** how long AWS may take until the new certificate gives credentials; milliseconds */
  readonly patienceMs?: number;
};

/**
 * Gives the gateway another certificate: a key is made here and never leaves, AWS certifies it, and when it has given credentials, its files take
 * the place of those before, and the certificate before is deleted. If this dies in between, the one before goes on working.
 */
export async function renewIdentity(renewal: Renewal): Promise<GatewayIdentity> {
  const { iot, log, thingName, roleAlias, port, gatewayCertificate } = renewal;
  const folder = dirname(gatewayCertificate.certFile);
  const endpoint = `${await credentialsEndpoint(iot)}${port === undefined ? '' : `:${port}`}`;
  for (const file of [gatewayCertificate.keyFile, gatewayCertificate.certFile]) ensureWritable(dirname(file));
  return withFolderLock(folder, async () => {
    const before = readGatewayIdentity(gatewayCertificate.certFile);
    const { privateKeyPem, csrPem } = makeEcKey(thingName, { organization: 'cvm-gateway', unit: 'gateway' });
    const made = await certifyGateway(iot, csrPem);
    const { certificateId, certificatePem } = made;
    const identity: GatewayIdentity = { thingName, certificateId, roleAlias, endpoint };
    const issuer = createAwsIssuer({ iot, log });
    const next = join(folder, 'next');
    const nextCert = join(next, 'gateway.crt');
    const files = [
      [join(next, 'gateway.key'), gatewayCertificate.keyFile, privateKeyPem, 0o600],
      [nextCert, gatewayCertificate.certFile, certificatePem, 0o644],
      [identityFile(nextCert), identityFile(gatewayCertificate.certFile), `${JSON.stringify(identity)}\n`, 0o644],
    ] as const;
    try {
      mkdirSync(next, { recursive: true, mode: 0o700 });
      for (const [file, , content, mode] of files) writeFileAtomic(file, content, mode);
      await activateGateway(iot, { thingName, roleAlias }, made);
      await untilItWorks(renewal, { certFile: nextCert, keyFile: join(next, 'gateway.key') });
    } catch (error) {
      rmSync(next, { recursive: true, force: true });
      await issuer.withdraw(certificateId).catch((err: unknown) => log.warn({ err, certificateId }, 'left behind'));
      throw error;
    }
    for (const [file, place] of files) renameSync(file, place);
    rmSync(next, { recursive: true, force: true });
    if (before !== undefined && before.certificateId !== certificateId) await issuer.withdraw(before.certificateId);
    return identity;
  });
}

/** A folder of the host that a container sees may be another user's, or mounted read-only. */
class FolderNotWritable extends Error {
  readonly cure: string;
  constructor(folder: string, cause: unknown) {
    super(`no certificate can be put into ${folder}: ${(cause as NodeJS.ErrnoException).code}`, { cause });
    this.name = 'FolderNotWritable';
    this.cure = `let this user (uid ${process.getuid?.()}) write there: chown, and a mount that is not read-only; in compose the folder is CVM_ROLE_ALIAS_FOLDER`;
  }
}

/** @throws FolderNotWritable before AWS has made anything */
function ensureWritable(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new FolderNotWritable(folder, error);
  }
}

/** AWS takes some seconds until a policy counts. */
async function untilItWorks(
  { roleAlias, rootCaFile, proxy, patienceMs = 30_000 }: Renewal,
  files: { readonly certFile: string; readonly keyFile: string },
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    try {
      await fetchCredentials({ name: roleAlias, ...files, rootCaFile }, proxy);
      return;
    } catch (error) {
      if (!(error instanceof RoleAliasError) || performance.now() > deadline) throw error;
      await sleep(1000);
    }
  }
}

/** A worker looks once a day; the first time soon after its start. Milliseconds. */
const [firstLookMs, lookMs] = [60_000, dayMs];

/** Replaces the gateway's certificate before it ends, where a role alias is used. The rights of a worker are enough for it. */
export function keepIdentity(app: App): void {
  const { settings, log, lifecycle, awsTime } = app;
  const { roleAlias, gatewayCertificate, rootCaFile, proxy } = settings;
  if (roleAlias === undefined || app.awsCredentials === undefined) return;
  async function look(): Promise<void> {
    const { certFile } = gatewayCertificate;
    const own = readGatewayIdentity(certFile);
    if (own === undefined || !endsSoon(certFile, awsTime.now())) return;
    const port = Number(own.endpoint.split(':')[1]) || undefined;
    const { thingName, roleAlias: alias } = own;
    const iot = iotFor(app, 'gateway');
    const made = await renewIdentity({
      ...{ iot, log, thingName, roleAlias: alias, port, gatewayCertificate, rootCaFile, proxy },
    });
    log.info({ certificateId: made.certificateId }, "the gateway's own certificate for AWS was renewed");
  }
  const run = () =>
    void look().catch((err: unknown) =>
      log.error(
        {
          err,
          cure:
            err instanceof FolderNotWritable
              ? err.cure
              : 'run "cvm aws setup --gateway --rotate" as an administrator of the AWS account',
        },
        "the gateway's own certificate for AWS ends soon, and cannot be renewed",
      ),
    );
  const timers = [setTimeout(run, firstLookMs), setInterval(run, lookMs)];
  lifecycle.add({ name: 'gateway identity', close: async () => timers.forEach(clearTimeout) });
}
