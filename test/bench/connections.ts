import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { Handshake, TlsVersion } from './connection-client.ts';
import { measureConnections, usualLoad } from './connection-cost.ts';
import { cvmOf } from './gateway.ts';

const { values } = parseArgs({
  options: {
    checkout: { type: 'string', default: join(import.meta.dirname, '../../..') },
    versions: { type: 'string', default: usualLoad.versions.join() },
    handshakes: { type: 'string', default: usualLoad.handshakes.join() },
    count: { type: 'string', default: String(usualLoad.count) },
    rounds: { type: 'string', default: String(usualLoad.rounds) },
    idle: { type: 'string', default: usualLoad.idle.join() },
    flags: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  console.log(`node dist/test/bench/connections.js [--checkout PATH] [--versions LIST] [--handshakes LIST] [--count N] [--rounds N]
                 [--idle LIST] [--flags FLAGS] [--json]

What a TLS connection costs the broker, beside Debian's mosquitto with the same certificate and client: milliseconds of CPU for
connect, CONNACK and close, and KiB of memory for an idle one. Beside both, what a server on bare Node.js takes.
  --checkout PATH     a built checkout (this one)
  --versions LIST     TLSv1.3, TLSv1.2
  --handshakes LIST   full, psk, ticket; mosquitto's is always full
  --count N           connections of a round (${usualLoad.count})
  --rounds N          rounds that are counted, after one that is not (${usualLoad.rounds})
  --idle LIST         numbers of idle connections; an empty list leaves them out
  --flags FLAGS       of Node.js, for the broker: "--perf-basic-prof", say, to look at it with perf`);
  process.exit(0);
}

const listOf = (text: string) => text.split(',').filter((part) => part !== '');
const checkout = resolve(values.checkout);
if (!existsSync(cvmOf(checkout))) {
  console.error(`run "npm run build" in ${checkout} first`);
  process.exit(2);
}
const load = {
  versions: listOf(values.versions) as TlsVersion[],
  handshakes: listOf(values.handshakes) as Handshake[],
  count: Number(values.count),
  rounds: Number(values.rounds),
  idle: listOf(values.idle).map(Number),
};
const flags = values.flags.split(' ').filter((flag) => flag !== '');
const cost = await measureConnections(checkout, load, (line) => console.error(line), flags);
if (values.json) console.log(JSON.stringify(cost));
else {
  for (const { version, handshake, gatewayMs, mosquittoMs, ratio, floorMs, floorRatio } of cost.connects)
    console.log(
      `${version} ${handshake.padEnd(7)} ${gatewayMs.toFixed(2)} ms, mosquitto (full) ${mosquittoMs.toFixed(2)} ms, ${ratio.toFixed(2)} ×; bare TLS ${floorMs.toFixed(2)} ms, ${floorRatio.toFixed(2)} ×`,
    );
  for (const { connections, gatewayKib, mosquittoKib, ratio, floorKib } of cost.idle)
    console.log(
      `${connections} idle connections: ${gatewayKib.toFixed(1)} KiB each, mosquitto ${mosquittoKib.toFixed(1)} KiB, ${ratio.toFixed(2)} ×; bare TLS ${floorKib.toFixed(1)} KiB`,
    );
}
