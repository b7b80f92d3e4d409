import { setTimeout as sleep } from 'node:timers/promises';
import type { DynamoTable } from './table.ts';

/** AWS usually takes a few seconds. */
const [patienceMs, pauseMs] = [120_000, 500];

/** The association table exists and is ready afterwards. @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html */
export async function ensureTable(table: DynamoTable): Promise<'created' | 'exists'> {
  const outcome = await table.create();
  for (let waitedMs = 0; (await table.status()) !== 'active'; waitedMs += pauseMs) {
    if (waitedMs >= patienceMs) throw new Error(`the DynamoDB table was not ready after ${patienceMs / 1000} s`);
    await sleep(pauseMs);
  }
  return outcome;
}
