import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { jobKey } from '../../../queue/stored-keys.ts';
import { type Row, type RowContext, rounded } from '../row.ts';

const devices = 10_000;

/** `power-cut` with one flow: what a device costs the simulator must not hang on the mix of a site. */
const scenario = {
  description: 'Power comes back: most devices ask at once, all with a CSR',
  arrival: { curve: 'surge', seconds: 20 },
  site: [{ part: 1, flow: 'csr' }],
  addresses: 200,
  timeoutSeconds: 3600,
};

/** For all devices to connect and ask, in milliseconds. */
const connectMs = 180_000;

/**
 * The simulator's own cost, beside bare TLS connections that it makes in the same run. The worker begins when all devices have asked: so all
 * are there at once, and what one takes is known.
 */
export const simulator: Row = {
  name: 'simulator',
  title: `${devices} simulated devices from one core: the simulator's CPU and memory beyond TLS`,
  minutes: 6,
  async run({ sites, say }: RowContext) {
    const aws = await sites.startAws({ quotas: 'off' });
    const gateway = await sites.startGateway(aws, {
      CVM_MAX_CONNECTIONS: String(devices + 1000),
      CVM_MAX_CONNECTIONS_PER_ADDRESS: String(devices + 1000),
    });
    const credentials = await gateway.enrol(devices);
    say(`${devices} devices`);
    const file = join(sites.folder('simulator'), 'power-cut-csr.json');
    writeFileSync(file, JSON.stringify(scenario));
    const argv = ['--scenario', file, '--credentials', credentials, '--tls-reference', '2000'];
    process.kill(gateway.worker.pid, 'SIGSTOP');
    const played = gateway.simulate(argv);
    await Promise.race([untilAllWait(gateway.redisPort), played]);
    process.kill(gateway.worker.pid, 'SIGCONT');
    const report = await played;
    await gateway.close();
    const { beyondTls, perDevice, openAtPeak } = report.simulator ?? {
      perDevice: { cpuMs: Number.NaN, rssBytes: Number.NaN },
      openAtPeak: 0,
    };
    const { cpuMs = Number.NaN, rssBytes = Number.NaN } = beyondTls ?? {};
    return {
      figures: [
        {
          name: 'simulated devices with a certificate',
          value: report.accepted,
          goal: String(devices),
          holds: report.accepted === devices,
        },
        {
          name: "simulator's CPU a device beyond TLS",
          value: rounded(cpuMs),
          unit: `ms (${rounded(perDevice.cpuMs)} ms in all)`,
          goal: '≤ 0.6 ms',
          holds: cpuMs <= 0.6,
        },
        {
          name: "simulator's memory a device",
          value: rounded(rssBytes / 1024, 1),
          unit: `KB beyond TLS (${openAtPeak} connected at once, ${rounded(perDevice.rssBytes / 1024, 1)} KB for each of those in all)`,
          goal: '≤ 12 KB',
          holds: rssBytes <= 12 * 1024,
        },
      ],
    };
  },
};

/** Waits until all devices' requests wait, or the time is over. */
async function untilAllWait(redisPort: number): Promise<void> {
  const redis = new Redis(redisPort, '127.0.0.1');
  for (const end = Date.now() + connectMs; Date.now() < end; await sleep(1000))
    if ((await redis.llen(jobKey('wait'))) >= devices) break;
  redis.disconnect();
}
