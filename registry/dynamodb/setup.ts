import { setTimeout as sleep } from 'node:timers/promises';
import { keyAttribute } from './named-attributes.ts';
import { siteIndex } from './site-index.ts';
import type { DynamoTable, TableDescription } from './table.ts';

/** AWS usually takes a few seconds for a table, and minutes to hours for the index of one that has rows. */
const [patienceMs, pauseMs] = [120_000, 500];

/** `missing`: the table was there before, without the index, and was left so. */
export type TableSetup = {
  readonly table: 'created' | 'exists';
  readonly index: 'created' | 'exists' | 'missing';
  /** of the table, as AWS counted them some hours ago */
  readonly rows: number;
};

export type TableSetupOptions = {
  /** builds the index of a table that is there without it */
  readonly addIndex?: boolean;
  /** Called again and again while the index is being built, with the milliseconds so far. */
  onWait?(waitedMs: number): void;
};

/**
 * The association table exists afterwards, and is ready; so is its index, where the table is new or `addIndex` says so.
 * @throws where a table or an index of this name exists and cannot be ours, with what differs and the cure
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html
 */
export async function ensureTable(
  table: DynamoTable,
  { addIndex = false, onWait }: TableSetupOptions = {},
): Promise<TableSetup> {
  const outcome = await table.create(siteIndex);
  const found = await untilActive(table);
  const { rows } = found;
  if (outcome === 'created') return { table: outcome, index: await untilBuilt(table, 'created', onWait), rows };
  if (found.indexes.some(({ name }) => name === siteIndex.name))
    return { table: outcome, index: await untilBuilt(table, 'exists', onWait), rows };
  if (!addIndex) return { table: outcome, index: 'missing', rows };
  await table.addIndex(siteIndex);
  return { table: outcome, index: await untilBuilt(table, 'created', onWait), rows };
}

/** Looks, and changes nothing. @throws as `ensureTable` does for a table that cannot be ours */
export async function findTable(table: Pick<DynamoTable, 'describe'>): Promise<TableDescription | undefined> {
  const found = await table.describe();
  if (found === undefined) return undefined;
  requireAssociationTable(found);
  const index = found.indexes.find(({ name }) => name === siteIndex.name);
  if (index !== undefined) requireSiteIndex(index);
  return found;
}

async function untilActive(table: DynamoTable): Promise<TableDescription> {
  for (let waitedMs = 0; ; waitedMs += pauseMs) {
    const found = await table.describe();
    if (found !== undefined) requireAssociationTable(found);
    // a table whose index is being built works
    if (found?.status === 'ACTIVE' || found?.status === 'UPDATING') return found;
    if (waitedMs >= patienceMs) throw new Error(`the DynamoDB table was not ready after ${patienceMs / 1000} s`);
    await sleep(pauseMs);
  }
}

async function untilBuilt<T>(table: DynamoTable, outcome: T, onWait: TableSetupOptions['onWait']): Promise<T> {
  for (let waitedMs = 0; ; waitedMs += pauseMs) {
    const index = (await table.describe())?.indexes.find(({ name }) => name === siteIndex.name);
    if (index !== undefined) requireSiteIndex(index);
    if (index?.status === 'ACTIVE') return outcome;
    if (index === undefined && waitedMs >= patienceMs)
      throw new Error(`AWS did not begin to build the index "${siteIndex.name}"`);
    onWait?.(waitedMs);
    await sleep(pauseMs);
  }
}

/** Without an attribute, each device would be read as one that does not have it. */
function requireSiteIndex({ name, keys, attributes }: TableDescription['indexes'][number]): void {
  const cure = 'delete it in DynamoDB, and run this command again';
  const wanted = [siteIndex.partition, siteIndex.sort].join(', ');
  const found = keys.map(({ attribute }) => attribute).join(', ');
  if (found !== wanted) throw new Error(`the index "${name}" has the keys ${found}, and must have ${wanted}: ${cure}`);
  const lacking = attributes === 'all' ? [] : siteIndex.included.filter((each) => !attributes.includes(each));
  if (lacking.length > 0) throw new Error(`the index "${name}" lacks the attributes ${lacking.join(', ')}: ${cure}`);
}

const types: Readonly<Record<string, string>> = { S: 'a string', N: 'a number', B: 'binary' };

function requireAssociationTable({ name, status, keys }: TableDescription): void {
  const cure = unusable[status];
  if (cure !== undefined) throw new Error(`the table "${name}" is in the state ${status}: ${cure}`);
  const [key, ...more] = keys;
  if (key?.attribute === keyAttribute && key.type === 'S' && more.length === 0) return;
  const described = keys.map(({ attribute, type }) => `"${attribute}" (${types[type] ?? type})`);
  throw new Error(
    `the table "${name}" exists, and is no association table: its key is ${described.join(' with the sort key ')}, and must be "${keyAttribute}" (a string) without a sort key. Keys cannot be changed: name another table in CVM_TABLE and run this command again, or move the rows and delete this table`,
  );
}

/** States that do not end by themselves, and their cures. */
const unusable: Readonly<Record<string, string>> = {
  INACCESSIBLE_ENCRYPTION_CREDENTIALS:
    'DynamoDB cannot use the KMS key of the table: enable the key, cancel its deletion, or restore its grant, within seven days',
  ARCHIVING: 'its KMS key was away for too long, and AWS moves the rows to a backup: restore it from that backup',
  ARCHIVED: 'its KMS key was away for too long, and AWS moved the rows to a backup: restore it from that backup',
};
