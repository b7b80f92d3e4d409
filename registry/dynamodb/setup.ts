import { setTimeout as sleep } from 'node:timers/promises';
import { type DynamoTable, keyAttribute, type TableDescription } from './table.ts';

/** AWS usually takes a few seconds. */
const [patienceMs, pauseMs] = [120_000, 500];

/**
 * The association table exists and is ready afterwards.
 * @throws where a table of this name exists and cannot be an association table, with what differs and the cure
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html
 */
export async function ensureTable(table: DynamoTable): Promise<'created' | 'exists'> {
  const outcome = await table.create();
  for (let waitedMs = 0; ; waitedMs += pauseMs) {
    const found = await table.describe();
    if (found !== undefined) requireAssociationTable(found);
    if (found?.status === 'ACTIVE') return outcome;
    if (waitedMs >= patienceMs) throw new Error(`the DynamoDB table was not ready after ${patienceMs / 1000} s`);
    await sleep(pauseMs);
  }
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
