import type {
  ClaimCertificate,
  ClaimCertificates,
  ClaimRefusal,
  WaitingCertificate,
  WaitingList,
  WaitingState,
} from '../claim-certificates.ts';
import { all, any, type Condition, conditionsOn, type Rows, type Update } from '../rows.ts';

/** The row of one claim certificate; of the row that lists them all, `ids` only. */
export type ClaimRow = Partial<Omit<ClaimCertificate, 'id' | 'served'>> & {
  readonly ids?: readonly string[];
  readonly served?: number;
  /** the latest hour in which it was used, in hours since the epoch, and how often in that hour */
  readonly hour?: number;
  readonly inHour?: number;
  /** certificates by where they have come to, as texts: one write moves a text from one set to the next */
  readonly intended?: readonly string[];
  readonly waiting?: readonly string[];
  readonly given?: readonly string[];
  readonly over?: readonly string[];
};

const where = conditionsOn<ClaimRow>();
const listKey = '#claims';
const keyOf = (id: string) => `#claim-${id}`;
const hourMs = 3_600_000;

/**
 * Certificates of one claim certificate in each state. They are in one row, of which DynamoDB takes 400 KB: were it full, the claim
 * certificate could not even be revoked. Those of all states together are 800 at most, of 310 bytes, since only intending one adds to them.
 */
const maxInState = 200;
const states: readonly WaitingState[] = ['intended', 'waiting', 'given', 'over'];

/** Attempts at one write, when others change the row meanwhile. */
const maxTries = 5;

/** `-` stands for what is not there; no id, digest or serial has a space. */
export const waitingText = ({ id, at, keyDigest, certificateId, serial }: WaitingCertificate): string =>
  [at, id, keyDigest ?? '-', certificateId ?? '-', serial ?? '-'].join(' ');

/** Without a text that another tool wrote. */
function readWaiting(text: string): WaitingCertificate[] {
  const [at = '', id, keyDigest, certificateId, serial, ...more] = text.split(' ');
  if (id === undefined || serial === undefined || more.length > 0 || !/^\d+$/.test(at)) return [];
  const said = { keyDigest, certificateId, serial };
  const present = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== '-'));
  return [{ id, at: Number(at), ...present }];
}

export function createClaimCertificates(rows: Rows<ClaimRow>): ClaimCertificates {
  const find = async (id: string) => claimOf(id, await rows.find(keyOf(id)));

  /** Moves a certificate from one set to another. @returns also true where that has happened before */
  async function move(
    id: string,
    [from, before]: readonly [WaitingState, WaitingCertificate],
    [to, after]: readonly [WaitingState, WaitingCertificate],
    { more = {}, condition }: { more?: Update<ClaimRow>; condition?: Condition<ClaimRow> } = {},
  ): Promise<boolean> {
    const update = { ...more, exclude: { [from]: [waitingText(before)] }, include: { [to]: [waitingText(after)] } };
    const isThere = where.includes(from, waitingText(before));
    if (await rows.update(keyOf(id), update, condition === undefined ? isThere : all(isThere, condition))) return true;
    return (await rows.find(keyOf(id)))?.[to]?.includes(waitingText(after)) ?? false;
  }

  return {
    async add({ id, ...claim }) {
      // first: one that is in no list could be neither seen nor swept
      await rows.upsert(listKey, { include: { ids: [id] } });
      return rows.put(keyOf(id), claim, where.isMissing('group'));
    },
    find,
    async list() {
      const { ids = [] } = (await rows.find(listKey)) ?? {};
      const found = await Promise.all(ids.map(find));
      return found.filter((claim) => claim !== undefined).sort((one, other) => one.createdAt - other.createdAt);
    },
    async remove(id, endedAt) {
      const isOver = any(where.isAtMost('endsAt', endedAt), where.isAtMost('revokedAt', endedAt));
      if (!(await rows.remove(keyOf(id), all(isOver, ...states.map((set) => where.isMissing(set)))))) return false;
      // a crash before this leaves an id in the list that no row has, which counts for nothing
      await rows.update(listKey, { exclude: { ids: [id] } });
      return true;
    },
    async whyNoneMore(id, now) {
      const row = await rows.find(keyOf(id));
      return whyNoneMore(row, claimOf(id, row), now);
    },
    revoke: (id, now) => rows.update(keyOf(id), { setIfMissing: { revokedAt: now } }),

    async intend(id, certificate, now) {
      const intended = waitingText({ ...certificate, at: now });
      for (let tries = 0; tries < maxTries; tries++) {
        const row = await rows.find(keyOf(id));
        const claim = claimOf(id, row);
        const refusal = whyNoneMore(row, claim, now);
        if (row === undefined || claim === undefined || refusal !== undefined) return refusal ?? 'unknown';
        const { update, condition } = inItsHour(row, claim, now);
        const isFree = all(...states.map((state) => where.hasFewerThan(maxInState, state)));
        if (
          await rows.update(
            keyOf(id),
            { ...update, include: { intended: [intended] } },
            all(isUsable(claim, now), isFree, condition),
          )
        )
          return undefined;
      }
      return 'hour-used-up';
    },

    async wait(id, certificate) {
      const { certificateId: _unknown, ...intended } = certificate;
      return move(id, ['intended', intended], ['waiting', certificate]);
    },

    async give(id, certificateId, { serial, now, madeAfter }) {
      const row = await rows.find(keyOf(id));
      const claim = claimOf(id, row);
      if (row === undefined || claim === undefined) return 'unknown';
      const list = waitingOf(row);
      const isIt = (each: WaitingCertificate) => each.certificateId === certificateId;
      const given = list.given.find(isIt);
      if (given !== undefined && claim.revokedAt !== undefined) return 'revoked';
      if (given !== undefined) return given.serial === serial ? given : 'not-waiting';
      const found = list.waiting.find(isIt);
      if (found === undefined || found.at <= madeAfter) return 'not-waiting';
      const refusal = whyNotUsable(claim, now);
      if (refusal !== undefined) return refusal;
      const to = { ...found, serial };
      const moved = await move(id, ['waiting', found], ['given', to], {
        more: { increase: { served: 1 } },
        condition: isUsable(claim, now),
      });
      if (moved) return to;
      // what was read a moment ago has changed
      return whyNotUsable((await find(id)) ?? { ...claim, revokedAt: now }, now) ?? 'not-waiting';
    },

    async takeBack(id, certificate) {
      await move(id, ['given', certificate], ['over', certificate], { more: { increase: { served: -1 } } });
    },

    waiting: async (id) => waitingOf((await rows.find(keyOf(id))) ?? {}),

    end: (id, certificate) =>
      move(id, [certificate.certificateId === undefined ? 'intended' : 'waiting', certificate], ['over', certificate]),

    async forget(id, certificate) {
      const text = [waitingText(certificate)];
      await rows.update(keyOf(id), { exclude: { given: text, over: text } });
    },
  };
}

function claimOf(id: string, row: ClaimRow | undefined): ClaimCertificate | undefined {
  const { group, templateName, serials, most, mostAnHour, createdAt, endsAt, revokedAt, served = 0 } = row ?? {};
  if (group === undefined || templateName === undefined || serials === undefined) return undefined;
  if (most === undefined || mostAnHour === undefined || createdAt === undefined || endsAt === undefined)
    return undefined;
  const revoked = revokedAt === undefined ? {} : { revokedAt };
  return { id, group, templateName, serials, most, mostAnHour, createdAt, endsAt, served, ...revoked };
}

function waitingOf({ intended = [], waiting = [], given = [], over = [] }: ClaimRow): WaitingList {
  const read = (texts: readonly string[]) => texts.flatMap(readWaiting);
  return { intended: read(intended), waiting: read(waiting), given: read(given), over: read(over) };
}

/** @returns why no certificate may be asked for by it */
function whyNoneMore(
  row: ClaimRow | undefined,
  claim: ClaimCertificate | undefined,
  now: number,
): ClaimRefusal | undefined {
  if (row === undefined || claim === undefined) return 'unknown';
  return whyNotUsable(claim, now) ?? whyNotIntended(row, claim, now);
}

function whyNotUsable({ revokedAt, endsAt, served, most }: ClaimCertificate, now: number): ClaimRefusal | undefined {
  if (revokedAt !== undefined) return 'revoked';
  if (endsAt <= now) return 'ended';
  return served >= most ? 'used-up' : undefined;
}

/** The same as a condition. */
function isUsable({ most }: ClaimCertificate, now: number): Condition<ClaimRow> {
  return all(
    where.isMissing('revokedAt'),
    where.isAbove('endsAt', now),
    any(where.isMissing('served'), where.isAtMost('served', most - 1)),
  );
}

function whyNotIntended(row: ClaimRow, { mostAnHour }: ClaimCertificate, now: number): ClaimRefusal | undefined {
  if (states.some((state) => (row[state]?.length ?? 0) >= maxInState)) return 'too-many-wait';
  return isSameHour(row, now) && (row.inHour ?? 0) >= mostAnHour ? 'hour-used-up' : undefined;
}

/** An hour that lies ahead of this worker's clock counts as this one: a clock that is set back gives no more certificates. */
const isSameHour = ({ hour }: ClaimRow, now: number): boolean => hour !== undefined && hour >= hourOf(now);
const hourOf = (now: number): number => Math.floor(now / hourMs);

function inItsHour(
  row: ClaimRow,
  { mostAnHour }: ClaimCertificate,
  now: number,
): { readonly update: Update<ClaimRow>; readonly condition: Condition<ClaimRow> } {
  const { hour } = row;
  if (isSameHour(row, now))
    return {
      update: { increase: { inHour: 1 } },
      condition: all(where.is({ hour }), where.isAtMost('inHour', mostAnHour - 1)),
    };
  return { update: { set: { hour: hourOf(now), inHour: 1 } }, condition: where.is({ hour }) };
}
