import type { Flow } from '../gateway.ts';
import { type Row, type RowContext, rounded } from '../row.ts';

/** One device at a time; nothing else waits. */
const [devices, warmUp] = [40, 10];
const [awsMs, slowerMs] = [60, 120];

/**
 * How many calls stand one after the other shows from outside: where each call takes 60 ms longer, a device waits that much longer
 * for each of them.
 */
export const latency: Row = {
  name: 'latency',
  title: `one device at a time, ${awsMs} ms a call`,
  minutes: 3,
  async run({ sites, say }: RowContext) {
    const aws = await sites.startAws({ quotas: 'off', keyPool: 2 * devices + warmUp });
    const gateway = await sites.startGateway(aws);
    const p50 = async (flow: Flow, ms: number, count: number) => {
      await aws.setLatency(0);
      const credentials = await gateway.enrol(count);
      await aws.setLatency(ms);
      say(`${flow}, ${ms} ms a call`);
      const report = await gateway.simulate(['--credentials', credentials, '--flow', flow, '--concurrency', '1']);
      return report.latencyMs?.p50 ?? Number.POSITIVE_INFINITY;
    };
    await p50('rsa', 0, warmUp);
    const figures = [];
    for (const flow of ['csr', 'ec', 'rsa'] as const) {
      const usual = await p50(flow, awsMs, devices);
      const slower = await p50(flow, slowerMs, devices);
      const path = Math.round((slower - usual) / (slowerMs - awsMs));
      const ratio = usual / (path * awsMs);
      figures.push(
        { name: `calls one after the other, ${flow}`, value: path, goal: '≤ 6', holds: path <= 6 },
        {
          name: `p50 from request to answer, ${flow}`,
          value: rounded(usual, 0),
          unit: `ms (${path} × ${awsMs} ms × ${rounded(ratio)})`,
          goal: '≤ 1.15 × the path',
          holds: ratio <= 1.15,
        },
      );
    }
    await gateway.close();
    return { figures };
  },
};
