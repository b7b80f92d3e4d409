import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startOpenBroker } from './open-broker.ts';
import { runSequence } from './sequence.ts';
import { fetchSource } from './source.ts';
import { readVectors, type Vector } from './vectors.ts';

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
type Difference = { readonly because: string; readonly sequences: readonly string[] };
const differences: readonly Difference[] = JSON.parse(
  readFileSync(join(root, 'test/mosquitto/known-differences.json'), 'utf8'),
);
const known = new Map(
  differences.flatMap(({ because, sequences }) => sequences.map((name) => [name, because] as const)),
);
const vectors = readVectors(source.vectors);
const failed = new Map<Vector, string>();
const waiting = [...vectors];
/** Most of the time of a sequence is waiting. Each lane has a broker of its own, since sequences share topics and client ids. */
const lanes = Array.from({ length: 8 }, async () => {
  const broker = await startOpenBroker();
  for (let vector = waiting.shift(); vector !== undefined; vector = waiting.shift()) {
    const difference = await runSequence(broker.port, vector);
    if (difference !== undefined) failed.set(vector, difference);
  }
  await broker.close();
});
await Promise.all(lanes);

for (const [title, isOne] of [
  ['MQTT 3.1 and 3.1.1', ({ level }: Vector) => level < 5],
  ['MQTT 5', ({ level }: Vector) => level === 5],
] as const) {
  const all = vectors.filter(isOne).length;
  console.log(`mosquitto ${source.version}, ${title}: ${all - [...failed.keys()].filter(isOne).length} of ${all} hold`);
}
const failures = [...failed].map(([{ name }, difference]) => ({ name, difference }));
for (const { name, difference } of failures.filter((each) => !known.has(each.name)))
  console.log(`  NOT KNOWN: ${name}: ${difference}`);
for (const { because, sequences } of differences) {
  const those = failures.filter(({ name }) => sequences.includes(name));
  console.log(`  ${those.length} differ: ${because}`);
}
const healed = [...known.keys()].filter((name) => failures.every((each) => each.name !== name));
for (const name of healed) console.log(`  holds, and is listed as a difference: ${name}`);
if (failures.some(({ name }) => !known.has(name)) || healed.length > 0) process.exitCode = 1;
