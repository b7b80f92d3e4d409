import { setTimeout as sleep } from 'node:timers/promises';
import type { Flow } from '../gateway.ts';
import { type Row, type RowContext, rounded } from '../row.ts';
import type { AwsCalls } from '../site.ts';
import { since } from './quota.ts';

/** So many that what a gateway calls once does not count. */
const devices = 300;
const goals = { csr: 9, ec: 9, rsa: 9 } as const satisfies Record<Flow, number>;

/** What an idle gateway calls meanwhile (announcements in the table) is measured for the same time, and taken off. */
export const calls: Row = {
  name: 'calls',
  title: 'SDK calls for each device, from its request to its acknowledgement',
  minutes: 2,
  async run({ sites, say }: RowContext) {
    const aws = await sites.startAws({ quotas: 'off', keyPool: devices });
    const gateway = await sites.startGateway(aws);
    const figures = [];
    for (const flow of ['csr', 'ec', 'rsa'] as const) {
      const credentials = await gateway.enrol(devices);
      // the roster reads what was enrolled
      await sleep(8000);
      say(flow);
      const before = await aws.calls();
      const began = performance.now();
      await gateway.simulate(['--credentials', credentials, '--flow', flow, '--concurrency', '10']);
      await sleep(2000);
      const busy = since(before, await aws.calls());
      const took = performance.now() - began;
      const calm = await aws.calls();
      await sleep(took);
      const idle = since(calm, await aws.calls());
      const each = (total(busy) - total(idle)) / devices;
      figures.push({
        name: `SDK calls a device, ${flow}`,
        value: rounded(each),
        goal: `≤ ${goals[flow]}`,
        holds: each < goals[flow] + 0.05,
      });
      say(
        Object.entries(busy)
          .filter(([, { calls: count }]) => count > 0)
          .map(([name, { calls: count }]) => `${name} ${rounded(count / devices)}`)
          .join(', '),
      );
    }
    await gateway.close();
    return { figures };
  },
};

const total = (counted: AwsCalls): number => Object.values(counted).reduce((sum, each) => sum + each.calls, 0);
