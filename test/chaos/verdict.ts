import { readFileSync } from 'node:fs';
import {
  ListAttachedPoliciesCommand,
  ListCertificatesCommand,
  ListThingPrincipalsCommand,
  ListThingsCommand,
} from '@aws-sdk/client-iot';
import { Redis } from 'ioredis';
import type { Stored } from '../../gateway-sim/device.ts';
import type { DeviceState } from '../../registry/device.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { policyName, type Site } from './site.ts';

/** Everything wrong at the end, by kind; all must be empty. */
export type Verdict = {
  /** devices without an accepted answer */
  readonly lost: number;
  /** certificates beyond one for each device, at the end and at every moment before */
  readonly duplicates: number;
  /** certificates in AWS that no row names */
  readonly orphans: number;
  /** devices whose certificate is not the one in the table, or that has no thing or policy, or does not work */
  readonly broken: number;
  /** things beyond one for each device */
  readonly things: number;
  /** entries of the queue, and keys that would stay for ever */
  readonly stuck: number;
  /** in words, the first few */
  readonly notes: readonly string[];
};

/** Compares what the devices hold, the table, AWS and Redis. */
export async function judge(
  site: Site,
  serials: readonly string[],
  stored: ReadonlyMap<string, Stored>,
): Promise<Verdict> {
  const notes: string[] = [];
  const rows = new Map<string, { state: DeviceState; certificateId?: string }>();
  for await (const device of site.registry.list()) rows.set(device.serial, device);
  const named = new Set([...rows.values()].map(({ certificateId }) => certificateId));

  const certificates = await allCertificates(site);
  const orphans = certificates.filter(({ certificateId }) => !named.has(certificateId));
  for (const { certificateId, status } of orphans.slice(0, 3)) notes.push(`orphan ${certificateId} ${status}`);

  let [lost, broken, duplicates] = [0, 0, 0];
  for (const serial of serials) {
    const held = stored.get(serial);
    if (held === undefined) {
      lost++;
      notes.push(`${serial} was not served; its row says ${rows.get(serial)?.state}`);
      continue;
    }
    const fault = await faultOf(site, serial, held, rows.get(serial));
    if (fault !== undefined) {
      broken++;
      notes.push(`${serial}: ${fault}`);
    }
    const { principals = [] } = await site.iot.send(new ListThingPrincipalsCommand({ thingName: serial }));
    duplicates += Math.max(0, principals.length - 1);
  }
  const active = certificates.filter(({ status }) => status === 'ACTIVE').length;
  duplicates += Math.max(0, active - serials.length);
  site.history.read();
  const twice = site.history.twice();
  duplicates += twice.length;
  notes.push(...twice.map((note) => `two ACTIVE certificates at one moment: ${note}`));
  const things = Math.abs((await allThings(site)) - serials.length);
  const stuck = await stuckInRedis(site, notes);
  return { lost, duplicates, orphans: orphans.length, broken, things, stuck, notes: notes.slice(0, 10) };
}

/** What is wrong with what this device holds; undefined when it works and is what the table names. */
export async function faultOf(
  site: Site,
  serial: string,
  held: Stored,
  row: { state: DeviceState; certificateId?: string } | undefined,
): Promise<string | undefined> {
  if (row?.state !== 'registered') return `the state of its row is ${row?.state}`;
  if (row.certificateId !== held.certificateId) return 'it holds another certificate than the table names';
  const target = `arn:aws:iot:us-east-1:000000000000:cert/${held.certificateId}`;
  const { policies = [] } = await site.iot.send(new ListAttachedPoliciesCommand({ target }));
  if (!policies.some((policy) => policy.policyName === policyName)) return 'its certificate has no policy';
  return worksOnTheDataPlane(site, serial, held).then(
    () => undefined,
    (error: unknown) => `its certificate does not work: ${error instanceof Error ? error.message : error}`,
  );
}

/** Connects with the device's certificate and publishes, as the device would. @throws when AWS refuses */
async function worksOnTheDataPlane(site: Site, serial: string, held: Stored): Promise<void> {
  const client = await connectOnce({
    host: 'localhost',
    port: site.dataPort,
    ca: readFileSync(site.env.CVM_ROOT_CA ?? '', 'utf8'),
    cert: held.certificatePem,
    key: held.privateKeyPem,
    clientId: serial,
    servername: 'localhost',
  });
  await client.publishAsync(`${serial}/state`, 'up', { qos: 1 });
  await client.endAsync(true);
}

export async function allCertificates({ iot }: Site): Promise<{ certificateId?: string; status?: string }[]> {
  const all: { certificateId?: string; status?: string }[] = [];
  let marker: string | undefined;
  do {
    const page = await iot.send(new ListCertificatesCommand({ pageSize: 250, ...(marker ? { marker } : {}) }));
    all.push(...((page.certificates ?? []) as { certificateId?: string; status?: string }[]));
    marker = page.nextMarker;
  } while (marker);
  return all;
}

async function allThings({ iot }: Site): Promise<number> {
  let [count, nextToken]: [number, string | undefined] = [0, undefined];
  do {
    const page: { things?: unknown[] | undefined; nextToken?: string | undefined } = await iot.send(
      new ListThingsCommand({ maxResults: 250, ...(nextToken ? { nextToken } : {}) }),
    );
    count += page.things?.length ?? 0;
    nextToken = page.nextToken;
  } while (nextToken);
  return count;
}

/** Everything of ours that is neither the queue's own bookkeeping, nor bounded or one line a device (roster, directory, sightings, activated certificates), nor going to expire. */
async function stuckInRedis(site: Site, notes: string[]): Promise<number> {
  const redis = new Redis(site.redisUrl);
  const bookkeeping =
    /:asks:(meta|events|id|stalled-check|marker|metrics.*|pc)$|:roster(:brokers|:position:2)?$|:activated$|:directory:|:format$|:seen:(own|unproven|unknown|requests|requests:order)$/;
  let stuck = 0;
  for (const key of await redis.keys('*')) {
    if (bookkeeping.test(key) || (await redis.pttl(key)) > 0) continue;
    stuck++;
    notes.push(`in Redis for ever: ${key}`);
  }
  await redis.quit();
  return stuck;
}
