import { awsErrorName } from '../../aws/errors.ts';
import { siteIndexName } from '../../aws/iam-policy.ts';
import type { Device } from '../device.ts';
import type { Gateways } from '../gateways.ts';
import type { Rows, Update } from '../rows.ts';
import type { SiteIndex } from '../site-index.ts';
import { anySite, deviceAttributes, deviceOf } from './device-attributes.ts';
import type { DynamoTable } from './table.ts';

const nameOf = (property: keyof typeof deviceAttributes) => deviceAttributes[property][0];

/**
 * The index of the table by site, and in a site by the time of the last change that gateways must know of. It has what an
 * entry of the roster is made of: with the keys alone, each row of a site would cost another read.
 */
export const siteIndex = {
  name: siteIndexName,
  partition: nameOf('site'),
  sort: nameOf('changedAt'),
  included: (
    [
      'tokenHash',
      'sealedKeys',
      'state',
      'requestedAt',
      'issuedAt',
      'deliveredAt',
      'tokenExpiresAt',
      'removedAt',
    ] as const
  ).map(nameOf),
};

export function createSiteIndex(table: Pick<DynamoTable, 'query'>, gateways: Pick<Gateways, 'known'>): SiteIndex {
  const query = (site: string, more: { changedSince?: number | undefined; pageSize?: number }) =>
    table.query({
      index: siteIndex.name,
      partition: [siteIndex.partition, site],
      ...(more.changedSince === undefined ? {} : { from: [siteIndex.sort, more.changedSince] as const }),
      ...(more.pageSize === undefined ? {} : { pageSize: more.pageSize }),
    });
  return {
    async *list(site, changedSince) {
      for (const each of [site, anySite]) for await (const item of query(each, { changedSince })) yield deviceOf(item);
    },
    async isUsed() {
      // a table that no such gateway uses may be without the index, and a call for it would be one that AWS refuses
      if (!(await gateways.known()).some(({ site }) => site !== undefined)) return false;
      try {
        await query(anySite, { changedSince: Number.MAX_SAFE_INTEGER, pageSize: 1 })[Symbol.asyncIterator]().next();
        return true;
      } catch (error) {
        if (withoutIndex.has(awsErrorName(error))) return false;
        throw error;
      }
    },
  };
}

/** A role that may not read it does not use it. */
const withoutIndex = new Set(['ValidationException', 'AccessDeniedException']);

/**
 * Rows of devices that keep the index true: each names a site or `*`, and each write that changes what gateways must know of the
 * device says when.
 * @param now epoch milliseconds
 */
export function indexedRows(rows: Rows<Device>, now: () => number): Rows<Device> {
  const noting = (update: Update<Device>): Update<Device> => {
    const { set = {} } = update;
    if (!concernsGateways(update)) return update;
    const changedAt = now();
    if ('site' in set) return { ...update, set: { ...set, site: set.site ?? anySite, changedAt } };
    // a row that another tool wrote has none
    return { ...update, set: { ...set, changedAt }, setIfMissing: { ...update.setIfMissing, site: anySite } };
  };
  return {
    ...rows,
    put: (key, row, condition) => rows.put(key, { ...row, site: row.site ?? anySite, changedAt: now() }, condition),
    update: (key, update, condition) => rows.update(key, noting(update), condition),
    updateAndGet: (key, update, condition) => rows.updateAndGet(key, noting(update), condition),
    upsert: (key, update, condition) => rows.upsert(key, noting(update), condition),
  };
}

const known: readonly (keyof Device)[] = [
  'site',
  'tokenHash',
  'sealedKeys',
  'issuedAt',
  'deliveredAt',
  'tokenExpiresAt',
  'removedAt',
];

/** A claim changes the state, and nothing that gateways go by: a certificate is as far away as before. */
function concernsGateways({ set = {}, setIfMissing = {} }: Update<Device>): boolean {
  if ('state' in set && set.state !== 'provisioning') return true;
  return known.some((property) => property in set || property in setIfMissing);
}
