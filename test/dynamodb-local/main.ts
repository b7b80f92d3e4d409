import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { runVitest } from '../nodes/vitest-run.ts';
import { fetchDynamoDbLocal } from './jar.ts';
import { findJava, startDynamoDbLocal } from './server.ts';

/** The contracts, and the flows that lean on the table most. */
const usualPaths = [
  'test/contract',
  'test/flow/reference-tables',
  'test/flow/table-takeover',
  'test/flow/operator',
  'test/flow/sweep',
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { help: { type: 'boolean', default: false } },
});
if (values.help) {
  console.log(`npm run test:dynamodb-local -- [PATH ...]

Runs ${usualPaths.join(', ')}, or the tests at PATH, with AWS's DynamoDB Local in place of dynalite.`);
  process.exit(0);
}

const java = await findJava();
if (java === undefined) {
  console.log('There is no Java here, so nothing was tested on DynamoDB Local: install Java 17 or later to run this.');
  process.exit(0);
}

const root = join(import.meta.dirname, '../../..');
const folder = join(root, '.cache/dynamodb-local');
mkdirSync(folder, { recursive: true });
const dynamo = await startDynamoDbLocal(await fetchDynamoDbLocal(folder));
try {
  process.env.STAND_IN_DYNAMODB_URL = dynamo.url;
  const report = join(folder, 'vitest');
  const paths = positionals.length > 0 ? positionals : usualPaths;
  const { passed, failed, skipped, failures, ok } = await runVitest(root, dirname(process.execPath), paths, report);
  console.log(`DynamoDB Local, ${java}: ${passed} passed, ${failed} failed, ${skipped} skipped`);
  for (const failure of failures) console.log(`  failed: ${failure}`);
  if (!ok) {
    console.log(`  output: ${report}.log`);
    process.exitCode = 1;
  }
} finally {
  await dynamo.close();
}
