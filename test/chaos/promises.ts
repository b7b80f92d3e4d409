import type { Asker } from './asking.ts';
import type { Figure } from './figures.ts';
import { short } from './history.ts';
import type { Site } from './site.ts';
import { nothing } from './storm.ts';
import { allCertificates, faultOf } from './verdict.ts';

/** One serial of a run, and what must have become of it. */
export type Party = {
  readonly serial: string;
  /** one for each token that the serial had, in order */
  readonly askers: readonly Asker[];
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

  for (const party of parties) {
    for (const asker of party.askers) {
      if (asker.owed.size > 0) fault(unanswered, `${party.serial} is owed ${asker.owed.size} answers`);
      if (asker.given.length > 1 + (party.spare ?? 0)) fault(vendedTwice, `${party.serial} was given ${idsOf(asker)}`);
    }
    const activated = site.history.activated(party.serial);
    if (activated.length > party.askers.length + (party.spare ?? 0))
      fault(vendedTwice, `${party.serial}: ${activated.map(short).join(' and ')} were ACTIVE`);
    for (const { given } of party.askers.slice(0, -1))
      if (given.some(({ certificateId }) => active.has(certificateId)))
        fault(voided, `the former token of ${party.serial} has an ACTIVE certificate`);
    const held = party.askers.at(-1)?.given.at(-1);
    if (party.ends === 'dead') {
      const left = activated.filter((id) => active.has(id));
      if (left.length > 0) fault(alive, `${party.serial} has ${left.map(short).join(' and ')}`);
    } else if (held === undefined) {
      const refusals = party.askers.at(-1)?.refusals.join(', ');
      fault(
        unserved,
        `${party.serial} was given nothing (${refusals || 'no answer'}); its row: ${rowText(rows, party.serial)}`,
      );
    } else {
      const wrong = await faultOf(site, party.serial, held, rows.get(party.serial));
      if (wrong !== undefined) fault(unserved, `${party.serial}: ${wrong}`);
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

const unanswered = 'requests with a PUBACK that were not answered, by device';
const twice = 'devices with two ACTIVE certificates at one moment';
const vendedTwice = 'tokens that vended twice';
const unserved = 'devices that do not hold the working certificate of the table';
const voided = 'tokens that are void and have an ACTIVE certificate';
const alive = 'blocked or removed devices with an ACTIVE certificate';
const orphans = 'orphans after one sweep';

const idsOf = ({ given }: Asker): string => given.map(({ certificateId }) => short(certificateId)).join(' and ');

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
