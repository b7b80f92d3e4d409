import { type Row, type RowContext, rounded } from '../row.ts';
import type { Gateway } from '../site.ts';
import { callsText, drain, drainCurve, efficiency, throttledShare } from './quota.ts';

const [gatewayCount, devicesOfEach, awsMs] = [5, 120, 60];

/** Gateways that share nothing but the account: each has a Redis of its own, and hears of the others by throttling only. */
export const fiveGateways: Row = {
  name: 'five-gateways',
  title: `${gatewayCount} gateways on one account, ${devicesOfEach} devices at each at once`,
  minutes: 3,
  async run({ sites, say }: RowContext) {
    const aws = await sites.startAws({ quotas: 'default' });
    const gateways: Gateway[] = [];
    for (let count = 0; count < gatewayCount; count++) gateways.push(await sites.startGateway(aws));
    const lists: (readonly [Gateway, string])[] = [];
    for (const gateway of gateways) lists.push([gateway, await gateway.enrol(devicesOfEach)] as const);
    await aws.setLatency(awsMs);
    say(`${gatewayCount} × ${devicesOfEach} devices ask`);
    const [drained, reports] = await drain(aws, () =>
      Promise.all(
        lists.map(([gateway, list]) =>
          gateway.simulate(['--credentials', list, '--flow', 'csr', '--concurrency', String(devicesOfEach)]),
        ),
      ),
    );
    for (const gateway of gateways) await gateway.close();
    say(callsText(drained.calls));
    const served = reports.reduce((sum, { accepted }) => sum + accepted, 0);
    const share = efficiency(drained, served);
    const throttled = throttledShare(drained.calls);
    const fairness = jain(reports.map(({ accepted, wallMs }) => accepted / wallMs));
    return {
      figures: [
        {
          name: 'five gateways: quota efficiency',
          value: rounded(share * 100, 1),
          unit: '% of the quota',
          goal: '≥ 93 %',
          holds: share >= 0.93,
        },
        {
          name: 'five gateways: throttled answers',
          value: rounded(throttled * 100),
          unit: '%',
          goal: '≤ 3 %',
          holds: throttled <= 0.03,
        },
        {
          name: "five gateways: Jain's fairness of their pace",
          value: rounded(fairness, 3),
          goal: '≥ 0.9',
          holds: fairness >= 0.9,
        },
        {
          name: 'five gateways: devices served',
          value: served,
          goal: String(gatewayCount * devicesOfEach),
          holds: served === gatewayCount * devicesOfEach,
        },
      ],
      drawings: [drainCurve('Five gateways on one account', drained)],
    };
  },
};

/**
 * 1 where all have the same, 1/n where one has all.
 * @see https://www.cse.wustl.edu/~jain/papers/ftp/fairness.pdf
 */
export function jain(shares: readonly number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0);
  const squares = shares.reduce((total, share) => total + share * share, 0);
  return sum ** 2 / (shares.length * squares);
}
