import type { Finding } from '../../worker/sweep-findings.ts';
import type { Asker } from './asking.ts';
import type { Figure } from './figures.ts';
import { short } from './history.ts';
import type { Site } from './site.ts';
import { nothing } from './storm.ts';
import { allCertificates, faultOf } from './verdict.ts';

/** One serial of a run, and what must have become of it. */
export type Party = {
  readonly serial: string;
  /** all that asked as this device: those with its first token, then those with the next */
  readonly askers: readonly Pick<Asker, 'token' | 'given' | 'refusals' | 'owed'>[];
  /** `serves`: its last token's certificate works, and is the one that the table names. `dead`: it has no ACTIVE certificate */
  readonly ends: 'serves' | 'dead';
  /** certificates that its tokens may have vended beyond one each */
  readonly spare?: number;
};

/** The promises to devices and operators, judged at the end of a part: what the devices hold, the table, and AWS. */
export async function judgePromises(
  part: string,
  site: Site,
  parties: readonly Party[],
  say: (line: string) => void,
): Promise<Figure[]> {
  site.history.read();
  const rows = await rowsOf(site);
  const certificates = await allCertificates(site);
  const active = new Set(certificates.filter(({ status }) => status === 'ACTIVE').map((each) => each.certificateId));
  const notes: Record<string, string[]> = {};
  const fault = (kind: string, note: string) => {
    notes[kind] = [...(notes[kind] ?? []), note];
  };

  for (const { serial, askers, ends, spare = 0 } of parties) {
    for (const { owed } of askers) if (owed.size > 0) fault(unanswered, `${serial} is owed ${owed.size} answers`);

    const tokens = [...new Set(askers.map(({ token }) => token))].map((token) =>
      askers.filter((asker) => asker.token === token),
    );
    const givenTo = tokens.map((same) => new Set(same.flatMap(({ given }) => given.map((each) => each.certificateId))));
    const activated = site.history.activated(serial);
    const twoGiven = givenTo.find((given) => given.size > 1 + spare);
    if (twoGiven !== undefined) fault(vendedTwice, `${serial} was given ${listed([...twoGiven])}`);
    else if (activated.length > tokens.length + spare)
      fault(vendedTwice, `${serial}: ${listed(activated)} were ACTIVE, and its tokens are ${tokens.length}`);
    for (const given of givenTo.slice(0, -1))
      if ([...given].some((id) => active.has(id))) fault(voided, `the former token of ${serial}`);

    const latest = tokens.at(-1) ?? [];
    const held = latest.flatMap(({ given }) => given).at(-1);
    const left = activated.filter((id) => active.has(id));
    if (ends === 'dead') {
      if (left.length > 0) fault(alive, `${serial} has ${listed(left)}`);
    } else if (held === undefined) {
      const refusals = latest.flatMap((each) => each.refusals).join(', ');
      fault(unserved, `${serial} was given nothing (${refusals || 'no answer'}); its row: ${rowText(rows, serial)}`);
    } else {
      const wrong = await faultOf(site, serial, held, rows.get(serial));
      if (wrong !== undefined) fault(unserved, `${serial}: ${wrong}`);
    }
  }
  for (const note of site.history.twice()) fault(twice, note);
  const named = new Set(
    [...rows.values()].flatMap((row) => [row.certificateId, row.previousCertificateId, ...(row.pendingDeletion ?? [])]),
  );
  for (const { certificateId = '', status } of certificates)
    if (!named.has(certificateId)) fault(orphans, `${short(certificateId)} ${status}`);

  const kinds = [unanswered, twice, vendedTwice, unserved, voided, alive, orphans];
  for (const kind of kinds) for (const note of (notes[kind] ?? []).slice(0, 8)) say(`  ${kind}: ${note}`);
  return [
    { name: `${part}: devices`, value: parties.length, goal: '>= 1', holds: parties.length >= 1 },
    ...kinds.map((kind) => nothing(`${part}: ${kind}`, notes[kind]?.length ?? 0)),
  ];
}

/** The findings of a sweep, by kind. */
export function sayFindings(found: readonly Finding[], say: (line: string) => void): void {
  const counts: Partial<Record<Finding['kind'], number>> = {};
  for (const { kind } of found) counts[kind] = (counts[kind] ?? 0) + 1;
  say(`sweep: ${JSON.stringify(counts)}`);
}

const unanswered = 'requests with a PUBACK that were not answered, by device';
const twice = 'devices with two ACTIVE certificates at one moment';
const vendedTwice = 'tokens that vended twice';
const unserved = 'devices that do not hold the working certificate of the table';
const voided = 'tokens that are void and have an ACTIVE certificate';
const alive = 'blocked or removed devices with an ACTIVE certificate';
const orphans = 'orphans after one sweep';

const listed = (ids: readonly string[]): string => ids.map(short).join(' and ');

type Rows = Map<string, Awaited<ReturnType<Site['registry']['find']>> & object>;

async function rowsOf({ registry }: Site): Promise<Rows> {
  const rows: Rows = new Map();
  for await (const device of registry.list()) rows.set(device.serial, device);
  return rows;
}

const rowText = (rows: Rows, serial: string): string => {
  const row = rows.get(serial);
  return row === undefined ? 'none' : `${row.state}, attempt ${row.attempt}`;
};
