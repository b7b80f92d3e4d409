import type { Device, StoredToken } from '../registry/device.ts';
import type { SourceRow, SourceTable } from '../registry/source-table.ts';
import { type Announcement, createAnnouncer } from './announce.ts';
import { forEachBounded } from './bounded.ts';
import type { OperatorDeps, SealedTo } from './deps.ts';
import { type EnrolSettings, faultOf, hasGateway } from './enrol.ts';
import { reasonOf } from './follow-up.ts';
import { expiryOf, storedTokenOf } from './stored-token.ts';
import { certificateNotes, faultOfRow, judgeToken, type TakeoverNote, unfinishedIn } from './takeover-judgement.ts';

/** The number of rows that are under way at the same time. */
const concurrency = 16;

export type TakeoverOutcome =
  | { readonly outcome: 'taken-over'; readonly serial: string; readonly notes: readonly TakeoverNote[] }
  /** nothing was changed. `sameToken`: it was taken over before, and is as it was */
  | { readonly outcome: 'exists'; readonly serial: string; readonly sameToken: boolean }
  | { readonly outcome: 'refused'; readonly serial: string; readonly reason: string };

export type TakeoverDeps = Pick<OperatorDeps, 'table' | 'gateways' | 'announce' | 'audit' | 'now'> & {
  readonly registry: Pick<OperatorDeps['registry'], 'find' | 'takeOver' | 'hashToken'>;
  readonly issuer: Pick<OperatorDeps['issuer'], 'describeCertificate' | 'thingsOf'>;
  readonly source: SourceTable;
};

export type TakeoverOptions = {
  /** the name of the table that is read. The table of the devices itself: its tokens are hashed in place */
  readonly from: string;
  /** reads and judges everything, and writes nothing */
  readonly dryRun: boolean;
  /** takes tokens that can be guessed, too: a device in the field cannot change its token */
  readonly weakTokens: boolean;
  /** for rows that do not say otherwise */
  readonly defaults: EnrolSettings;
  onRow(outcome: TakeoverOutcome): void;
};

/** `without`: as in `EnrolResult`. */
export type TakeoverResult = Announcement & { readonly without: ReadonlySet<string | undefined> };

/**
 * Takes over the devices of a table that another tool filled. The table itself is only read. Repeating it leaves those that are
 * there already as they are, so a run that ended early is run again.
 * @throws when a table or AWS IoT Core is away
 */
export async function takeOverTable(deps: TakeoverDeps, options: TakeoverOptions): Promise<TakeoverResult> {
  const gateways = await deps.gateways();
  const announcer = createAnnouncer(deps);
  let announcement: Announcement = {};
  const without = new Set<string | undefined>();
  const run = {
    deps,
    options,
    gateways,
    inPlace: options.from === deps.table,
    certificates: new Map(),
    tokens: new Map(),
  };
  try {
    await forEachBounded(deps.source.rows(), concurrency, async (row) => {
      const outcome = await takeOverRow(row, run);
      options.onRow(outcome);
      if (outcome.outcome !== 'taken-over' || options.dryRun) return;
      const site = siteOf(row.device, options.defaults);
      if (!hasGateway(gateways, site)) without.add(site);
      await announcer.add(outcome.serial, site);
    });
  } catch (cause) {
    throw new Error(`${reasonOf(cause)}. Run the command again: it leaves what was taken over as it is`, { cause });
  } finally {
    announcement = await announcer.end();
  }
  return { without, ...announcement };
}

type Run = {
  readonly deps: TakeoverDeps;
  readonly options: TakeoverOptions;
  readonly gateways: readonly SealedTo[];
  readonly inPlace: boolean;
  /** the serial that each certificate belongs to, of the rows read so far */
  readonly certificates: Map<string, string>;
  /** the serial that each token hash belongs to */
  readonly tokens: Map<string, string>;
};

async function takeOverRow(row: SourceRow, run: Run): Promise<TakeoverOutcome> {
  const { deps, options, inPlace } = run;
  const { device } = row;
  const refused = (reason: string) => ({ outcome: 'refused', serial: row.key, reason }) as const;
  if (device === undefined) return refused('the row has not the attributes of this form of table');
  const { serial, tokenHash } = device;
  const named = faultOf({ ...options.defaults, serial });
  if (named !== undefined) return refused(`${named.reason}; ${named.cure}`);
  // before any wait, and also for rows that are there already: a second run judges the same row as the first
  const sharer = sharerOf(device, run.tokens);
  const found = await deps.registry.find(serial);
  if (inPlace ? device.tokenForm === undefined : found !== undefined)
    return { outcome: 'exists', serial, sameToken: found?.tokenHash === tokenHash };
  const fault = faultOfRow(device) ?? (inPlace ? undefined : unfinishedIn(device));
  if (fault !== undefined) return refused(fault);
  const token = judgeToken(row.token, device, { weakTokens: options.weakTokens, sharer });
  if ('fault' in token) return refused(token.fault);
  // in place the row keeps its certificate, which the sweep compares with AWS
  const certificate = inPlace ? { notes: [] } : await certificateNotes(row, deps.issuer, run.certificates);
  if ('fault' in certificate) return refused(certificate.fault);
  if (!options.dryRun && !(await write(row, device, token.spent, run)))
    return refused('the row changed meanwhile; run the command again');
  return { outcome: 'taken-over', serial, notes: [...token.notes, ...certificate.notes] };
}

/** The device whose row came before this one, and has the same token. */
function sharerOf({ serial, tokenHash, tokenForm }: Device, tokens: Map<string, string>): string | undefined {
  if (tokenForm === 'missing') return undefined;
  const first = tokens.get(tokenHash);
  if (first === undefined) tokens.set(tokenHash, serial);
  return first === serial ? undefined : first;
}

/** A row that names a site keeps it. */
const siteOf = (device: Device | undefined, { site }: EnrolSettings): string | undefined => device?.site ?? site;

/** @returns false when another writer was faster */
async function write(row: SourceRow, device: Device, spent: boolean, run: Run): Promise<boolean> {
  const { deps, options, gateways, inPlace } = run;
  const { serial, certificateId } = device;
  const now = deps.now();
  const delivered = spent ? { deliveredAt: device.deliveredAt ?? now } : {};
  const site = siteOf(device, options.defaults);
  const expiresAt = device.tokenExpiresAt ?? expiryOf(options.defaults.tokenLifetimeMs, now);
  const stored: StoredToken =
    row.token === undefined
      ? { tokenHash: device.tokenHash, ...(expiresAt === undefined ? {} : { tokenExpiresAt: expiresAt }) }
      : storedTokenOf(serial, row.token, { gateways, site, expiresAt });
  const written = inPlace
    ? await deps.registry.hashToken(device, row.stored ?? '', {
        ...stored,
        ...delivered,
        ...(certificateId === undefined ? {} : { certificateId }),
        ...(site === undefined ? {} : { site }),
      })
    : await deps.registry.takeOver({ ...rowFor(device, options.defaults, now), ...stored, ...delivered });
  if (!written) return false;
  const about = certificateId === undefined ? {} : { certificateId };
  deps.audit.record('taken-over', { serial, from: options.from, ...about });
  return true;
}

/** The thing may have certificates that the row does not name: the sample could vend two at once. */
function rowFor(device: Device, defaults: EnrolSettings, now: number): Omit<Device, 'tokenHash'> {
  const { serial, state, requestedAt, certificateId, issuedAt, deliveredAt, keyDigest } = device;
  const waits = state === 'enrolled' || state === 'provisioning';
  const settings = {
    site: siteOf(device, defaults),
    policyName: device.policyName ?? defaults.policyName,
    thingTypeName: device.thingTypeName ?? defaults.thingTypeName,
    thingGroupName: device.thingGroupName ?? defaults.thingGroupName,
  };
  // a device that may ask for another certificate works with this one until then
  const certificate = waits
    ? { previousCertificateId: certificateId }
    : { certificateId, issuedAt, deliveredAt, keyDigest };
  const known = { ...settings, ...certificate };
  return {
    serial,
    state: waits ? 'enrolled' : state,
    requestedAt,
    enrolledAt: now,
    attempt: 0,
    mayHaveOthers: true,
    ...(Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined)) as Partial<Device>),
  };
}
