import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuMs } from '../processes.ts';
import { type Row, type RowContext, rounded } from '../row.ts';

const [devices, count] = [1000, 2];

/** CPU in milliseconds: of all, and of the busiest process. */
type Spent = { readonly total: number; readonly busiest: number };

/**
 * Simulator and stand-in work on the same cores, so what a second broker process adds is told by CPU: on two cores the work
 * takes at least half of all CPU, and at least what the busiest process needs.
 */
export const processes: Row = {
  name: 'processes',
  title: `${devices} devices at one broker process, and at ${count} on one port`,
  minutes: 3,
  async run(context: RowContext) {
    const one = await spentBy(context, 1);
    const two = await spentBy(context, count);
    const speedUp = one.busiest / Math.max(two.total / count, two.busiest);
    return {
      figures: [
        {
          name: `${count} broker processes on ${count} cores against one`,
          value: rounded(speedUp),
          unit: `× (by CPU: one ${rounded(one.total, 0)} ms; two ${rounded(two.total, 0)} ms, the busier ${rounded(two.busiest, 0)} ms)`,
          goal: '≥ 1.7 ×',
          holds: speedUp >= 1.7,
        },
      ],
    };
  },
};

/** What `brokers` processes spend on the devices, each process warm from as many as are measured. */
async function spentBy({ sites, say }: RowContext, brokers: number): Promise<Spent> {
  const brokerArguments = brokers === 1 ? [] : ['--processes', String(brokers)];
  const aws = await sites.startAws({ quotas: 'off' });
  const gateway = await sites.startGateway(aws, {}, { brokerArguments });
  const [warm, credentials] = [await gateway.enrol(devices * brokers), await gateway.enrol(devices)];
  await sleep(10_000);
  const ask = (list: string) => gateway.simulate(['--credentials', list, '--flow', 'csr', '--concurrency', '50']);
  say('warm-up');
  await ask(warm);
  const before = await eachOf(gateway.broker.pid);
  say(`${devices} devices, broker ${brokerArguments.join(' ')}`);
  await ask(credentials);
  const after = await eachOf(gateway.broker.pid);
  await gateway.close();
  const spent = [...after].map(([pid, ms]) => ms - (before.get(pid) ?? 0));
  return { total: spent.reduce((sum, ms) => sum + ms, 0), busiest: Math.max(...spent) };
}

/** CPU of a process and its children. @see https://man7.org/linux/man-pages/man5/proc_pid_task.5.html */
async function eachOf(pid: number): Promise<Map<number, number>> {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number);
  const all = [pid, ...children];
  return new Map(await Promise.all(all.map(async (each) => [each, await cpuMs(each)] as const)));
}
