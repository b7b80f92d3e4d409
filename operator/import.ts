import { setTimeout as sleep } from 'node:timers/promises';
import { hashToken } from '../protocol/token.ts';
import type { Devices } from '../registry/devices.ts';
import { createTextIndex } from '../runtime/text-index.ts';
import { untilTaken } from '../runtime/throttled.ts';
import { type Announcement, createAnnouncer } from './announce.ts';
import { mapBounded } from './bounded.ts';
import type { DeviceRow } from './csv.ts';
import type { SealedTo } from './deps.ts';
import { type EnrolDeps, type EnrolOutcome, type EnrolSettings, enrolChecked, faultOf, hasGateway } from './enrol.ts';
import { reasonOf } from './follow-up.ts';
import { type ListFault, listFault } from './list-faults.ts';

/** The number of rows that are on their way to the table, and in memory, at the same time. */
const concurrency = 64;

export type ImportDeps = Omit<EnrolDeps, 'registry'> & { readonly registry: Pick<Devices, 'enrol' | 'find'> };

/** Where tokens that were made are kept, also from one run of an import to the next. */
export type KeptTokens = {
  /** the token that an earlier run kept for a serial */
  find(serial: string): Promise<string | undefined>;
  /** Resolves when the token is kept for good. */
  add(serial: string, token: string): Promise<void>;
};

/** `enrolled-before`: an earlier run of this import enrolled the device, with the token that it has here. */
export type ImportOutcome = EnrolOutcome | { readonly outcome: 'enrolled-before'; readonly serial: string };

export type ImportOptions = {
  /** for rows that do not say otherwise */
  readonly defaults: EnrolSettings;
  readonly tokens: KeptTokens;
  /** Called for each row when it is decided, in the order of the rows. */
  onRow(line: number, outcome: ImportOutcome): void;
  /** Called before each wait for a table that has too much to do. */
  onWait?(): void;
  /** Waits between two tries, in milliseconds. */
  readonly wait?: (ms: number) => Promise<unknown>;
};

/** `without`: as in `EnrolResult`. */
export type ImportResult = Announcement & { readonly without: ReadonlySet<string | undefined> };

/**
 * Enrols the devices of a file of any length. A row that cannot be enrolled is an outcome, and the others go on. A token
 * that is made here is kept before its device is enrolled. So an import can be killed at any moment and run again: a device that has
 * a kept token, and is not enrolled, is enrolled with that token; one that is enrolled with the token that it has here is left as it is.
 * @throws when the table is away or a token cannot be kept, with the line at which the import stopped
 */
export async function importDevices(
  rows: AsyncIterable<DeviceRow>,
  deps: ImportDeps,
  options: ImportOptions,
): Promise<ImportResult> {
  const gateways = await deps.gateways();
  const announcer = createAnnouncer(deps);
  let announcement: Announcement = {};
  const without = new Set<string | undefined>();
  const importOne = async (row: DeviceRow) => {
    try {
      const site = row.request.site ?? options.defaults.site;
      return { line: row.line, site, outcome: await importRow(row, deps, gateways, options) };
    } catch (error) {
      throw stoppedAt(row.line, error);
    }
  };
  try {
    for await (const { line, site, outcome } of mapBounded(checkedRows(rows), concurrency, importOne)) {
      options.onRow(line, outcome);
      if (outcome.outcome !== 'enrolled') continue;
      if (!hasGateway(gateways, site)) without.add(site);
      await announcer.add(outcome.serial, site);
    }
  } finally {
    announcement = await announcer.end();
  }
  return { without, ...announcement };
}

/** The same rows, with the faults that a row has by itself and beside the rows before it. */
export async function* checkedRows(rows: AsyncIterable<DeviceRow>): AsyncGenerator<DeviceRow> {
  const [serials, tokens] = [createTextIndex(), createTextIndex()];
  let before: string | undefined;
  for await (const row of rows) {
    const { serial, token } = row.request;
    const fault =
      row.fault ?? twice(serials, serial, 'serial') ?? twice(tokens, token, 'token') ?? faultOf(row.request, before);
    yield fault === undefined ? row : { ...row, fault };
    if (row.fault !== undefined) continue;
    if (serial !== '' && serials.get(serial) === undefined) serials.set(serial, row.line);
    if (token !== undefined && tokens.get(token) === undefined) tokens.set(token, row.line);
    before = token ?? before;
  }
}

function twice(
  lines: ReturnType<typeof createTextIndex>,
  text: string | undefined,
  what: 'serial' | 'token',
): ListFault | undefined {
  const line = text === undefined ? undefined : lines.get(text);
  if (line === undefined) return undefined;
  return listFault(`${what}-twice`, `the ${what} stands at line ${line} already`);
}

/** A device that an import would enrol. */
export type WouldBeEnrolled = { readonly outcome: 'enrolled'; readonly serial: string };

type LookOptions = Pick<ImportOptions, 'onWait' | 'wait'> & {
  readonly tokens: Pick<KeptTokens, 'find'>;
  /** Called for each row, in the order of the rows. */
  onRow(line: number, outcome: ImportOutcome | WouldBeEnrolled): void;
};

/**
 * Says what an import of these rows would do. It only reads.
 * @throws when the table is away, with the line at which the look stopped
 */
export async function lookAtDevices(
  rows: AsyncIterable<DeviceRow>,
  { registry }: { readonly registry: Pick<Devices, 'find'> },
  { tokens, onRow, onWait, wait = sleep }: LookOptions,
): Promise<void> {
  const lookAtOne = async ({ line, request, fault }: DeviceRow) => {
    const { serial } = request;
    if (fault !== undefined) return { line, outcome: { outcome: 'invalid' as const, serial, ...fault } };
    try {
      const there = await untilTaken(() => registry.find(serial), wait, onWait);
      if (there === undefined) return { line, outcome: { outcome: 'enrolled' as const, serial } };
      return { line, outcome: besides(serial, request.token ?? (await tokens.find(serial)), there.tokenHash) };
    } catch (error) {
      throw stoppedAt(line, error);
    }
  };
  for await (const { line, outcome } of mapBounded(checkedRows(rows), concurrency, lookAtOne)) onRow(line, outcome);
}

async function importRow(
  { request, fault }: DeviceRow,
  deps: ImportDeps,
  gateways: readonly SealedTo[],
  { defaults, tokens, onWait, wait = sleep }: ImportOptions,
): Promise<ImportOutcome> {
  const { serial } = request;
  if (fault !== undefined) return { outcome: 'invalid', serial, ...fault };
  const patiently = <T>(act: () => Promise<T>) => untilTaken(act, wait, onWait);
  const isThere = () => patiently(() => deps.registry.find(serial));
  let token = request.token ?? (await tokens.find(serial));
  if (request.token === undefined) {
    // no token is to be made for a device that is there
    const there = await isThere();
    if (there !== undefined) return besides(serial, token, there.tokenHash);
    token ??= await makeKept(serial, deps, tokens);
  }
  const enrolment = { ...withDefaults(request, defaults), serial, token };
  const outcome = await patiently(() => enrolChecked(enrolment, deps, gateways));
  return outcome.outcome === 'exists' ? besides(serial, token, (await isThere())?.tokenHash) : outcome;
}

async function makeKept(serial: string, { makeToken }: ImportDeps, tokens: KeptTokens): Promise<string> {
  const token = makeToken();
  await tokens.add(serial, token);
  return token;
}

/** The outcome for a device that is enrolled already. */
function besides(serial: string, token: string | undefined, tokenHash: string | undefined): ImportOutcome {
  const isSame = token !== undefined && hashToken(token) === tokenHash;
  return { outcome: isSame ? 'enrolled-before' : 'exists', serial };
}

function withDefaults(row: EnrolSettings, defaults: EnrolSettings): EnrolSettings {
  return {
    tokenLifetimeMs: row.tokenLifetimeMs ?? defaults.tokenLifetimeMs,
    site: row.site ?? defaults.site,
    policyName: row.policyName ?? defaults.policyName,
    thingTypeName: row.thingTypeName ?? defaults.thingTypeName,
    thingGroupName: row.thingGroupName ?? defaults.thingGroupName,
    claimGroup: row.claimGroup ?? defaults.claimGroup,
  };
}

function stoppedAt(line: number, cause: unknown): Error {
  const message = `stopped near line ${line}: ${reasonOf(cause)}. Run the same command again when this is mended: it goes on from there`;
  return new Error(message, { cause });
}
