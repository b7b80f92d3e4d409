import type { Devices } from '../registry/devices.ts';
import { type Announcement, createAnnouncer } from './announce.ts';
import { forEachBounded } from './bounded.ts';
import type { DeviceRow } from './csv.ts';
import { type EnrolDeps, type EnrolOutcome, type EnrolSettings, enrolDevice, faultOf } from './enrol.ts';
import { reasonOf } from './follow-up.ts';

/** The number of rows that are on their way to the table, and in memory, at the same time. */
const concurrency = 64;

export type ImportDeps = Omit<EnrolDeps, 'registry'> & { readonly registry: Pick<Devices, 'enrol' | 'find'> };

export type ImportOptions = {
  /** for rows that do not say otherwise */
  readonly defaults: EnrolSettings;
  /** Keeps a token that was made. It is called, and awaited, before the device is enrolled. */
  keepToken(serial: string, token: string): Promise<void>;
  /** Called for each row as soon as it is decided. */
  onRow(line: number, outcome: EnrolOutcome): void;
};

/** `gateways`: to how many the keys of the devices were sealed. */
export type ImportResult = Announcement & { readonly gateways: number };

/**
 * Enrols the devices of a file of any length. A row that cannot be enrolled is an outcome, and the others go on. A token
 * that is made here is kept before its device is enrolled: when the command is killed, the token of every enrolled device is
 * in the file (a power cut may cost the latest ones: `cvm devices reissue` makes new ones). A token that was kept for a device that was not enrolled opens nothing.
 * @throws when the table is away or a token cannot be kept, with the line at which the import stopped
 */
export async function importDevices(
  rows: AsyncIterable<DeviceRow>,
  deps: ImportDeps,
  { defaults, keepToken, onRow }: ImportOptions,
): Promise<ImportResult> {
  const gateways = await deps.gateways();
  const announcer = createAnnouncer(deps);
  let announcement: Announcement = {};
  // a serial that stands in the file twice must not get two tokens
  const underWay = new Set<string>();

  async function importRow({ request: row, fault }: DeviceRow): Promise<EnrolOutcome> {
    const { serial } = row;
    if (underWay.has(serial))
      return { outcome: 'invalid', serial, reason: `${JSON.stringify(serial)} stands in the file twice` };
    const reason = fault ?? faultOf(row);
    if (reason !== undefined) return { outcome: 'invalid', serial, reason };
    underWay.add(serial);
    try {
      const token = row.token ?? (await newTokenFor(serial));
      if (token === undefined) return { outcome: 'exists', serial };
      return await enrolDevice({ ...withDefaults(row, defaults), serial, token }, deps, gateways);
    } finally {
      underWay.delete(serial);
    }
  }

  /** Undefined when the device is there already: no token is to be kept for it. */
  async function newTokenFor(serial: string): Promise<string | undefined> {
    if ((await deps.registry.find(serial)) !== undefined) return undefined;
    const token = deps.makeToken();
    await keepToken(serial, token);
    return token;
  }

  try {
    await forEachBounded(rows, concurrency, async (row) => {
      const outcome = await importRow(row).catch((error: unknown) => {
        throw stoppedAt(row.line, error);
      });
      onRow(row.line, outcome);
      if (outcome.outcome === 'enrolled') await announcer.add(outcome.serial);
    });
  } finally {
    announcement = await announcer.end();
  }
  return { gateways: gateways.length, ...announcement };
}

function withDefaults(row: EnrolSettings, defaults: EnrolSettings): EnrolSettings {
  return {
    tokenLifetimeMs: row.tokenLifetimeMs ?? defaults.tokenLifetimeMs,
    policyName: row.policyName ?? defaults.policyName,
    thingTypeName: row.thingTypeName ?? defaults.thingTypeName,
    thingGroupName: row.thingGroupName ?? defaults.thingGroupName,
  };
}

function stoppedAt(line: number, cause: unknown): Error {
  const message = `stopped near line ${line}: ${reasonOf(cause)}. Run the import again: it leaves devices that are enrolled as they are. If tokens were made, name another file with --out.`;
  return new Error(message, { cause });
}
