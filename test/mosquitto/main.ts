import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startOpenBroker } from './open-broker.ts';
import { runSequence } from './sequence.ts';
import { fetchSource } from './source.ts';
import { readVectors } from './vectors.ts';

/**
 * Runs mosquitto's own packet sequences against the frame guard and aedes with an open profile, and compares what goes
 * otherwise with the reasons in known-differences.json. Ends with status 1 when another sequence fails, or a known one holds.
 */
const root = join(import.meta.dirname, '../../..');
const source = await fetchSource(join(root, '.cache/mosquitto'));
if ('reason' in source) {
  console.log(`SKIPPED: mosquitto's test vectors cannot be fetched here (${source.reason})`);
  process.exit(0);
}
const known: Readonly<Record<string, string>> = JSON.parse(
  readFileSync(join(root, 'test/mosquitto/known-differences.json'), 'utf8'),
);
const broker = await startOpenBroker();
const vectors = readVectors(source.vectors);
const failed = new Map<string, string>();
for (const vector of vectors) {
  const difference = await runSequence(broker.port, vector);
  if (difference !== undefined) failed.set(vector.name, difference);
}
await broker.close();

console.log(
  `mosquitto ${source.version}, MQTT 3.1 and 3.1.1: ${vectors.length - failed.size} of ${vectors.length} hold`,
);
for (const [name, difference] of failed) console.log(`  ${name}: ${difference}; ${known[name] ?? 'NOT KNOWN'}`);
const [unknown, healed] = [
  [...failed.keys()].filter((name) => known[name] === undefined),
  Object.keys(known).filter((name) => !failed.has(name)),
];
for (const name of healed) console.log(`  holds, and is listed as a difference: ${name}`);
if (unknown.length > 0 || healed.length > 0) process.exitCode = 1;
