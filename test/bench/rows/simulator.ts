import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
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

/** For all devices to connect, in milliseconds. */
const connectMs = 180_000;

/**
 * The simulator's own cost, beside bare TLS connections that it makes in the same run. The worker begins when all devices are connected: so all
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
    await Promise.race([untilConnected(gateway.port), played]);
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

/** Waits until the port has all devices' connections, or the time is over. */
async function untilConnected(port: number): Promise<void> {
  for (const end = Date.now() + connectMs; Date.now() < end && connectionsOf(port) < devices; ) await sleep(1000);
}

/** Established connections (state 01) whose local port this is, by the kernel's list. */
function connectionsOf(port: number): number {
  const place = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = ['tcp', 'tcp6'].flatMap((name) => readFileSync(`/proc/net/${name}`, 'utf8').split('\n'));
  return lines.filter((line) => {
    const [, local, , state] = line.trim().split(/\s+/);
    return local?.endsWith(place) === true && state === '01';
  }).length;
}
