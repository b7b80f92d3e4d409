import { setTimeout as sleep } from 'node:timers/promises';
import type { Stored } from '../../gateway-sim/device.ts';
import { runDevice } from '../../gateway-sim/run-device.ts';
import type { Figure } from './figures.ts';
import { startSite } from './site.ts';
import { nothing } from './storm.ts';
import { judge } from './verdict.ts';

const patience = { timeoutMs: 300_000 };
const operation = 'CreateCertificateFromCsr';

/** One in twenty create calls makes its certificate and loses the answer: the certificate is found, and no second one is made. */
export async function lostAnswers({ devices }: { devices: number }, say: (line: string) => void): Promise<Figure[]> {
  const site = await startSite({ workers: 2 });
  try {
    await site.dial([{ operation, kind: 'act-and-lose-answer', probability: 0.05 }]);
    const serials = Array.from({ length: devices }, (_, index) => `lost-${index + 1}`);
    const stored = new Map<string, Stored>();
    const waiting = await site.enrol(serials);
    const serve = async () => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop())
        await runDevice(site.gateway, next, waiting.length % 2 === 0 ? 'ec' : 'csr', {
          ...patience,
          store: (given) => stored.set(given.serial, given),
        });
    };
    await Promise.all(Array.from({ length: 40 }, serve));
    const { calls, struck } = await site.counts();
    const lost = struck[`${operation} act-and-lose-answer`] ?? 0;
    const made = calls[operation]?.calls ?? 0;
    say(`${made} create calls for ${stored.size} certificates, ${lost} answers lost`);
    await site.dial([]);
    await sleep(6000);
    await site.sweep(['--grace', '5s', '--rate', '100']);
    const verdict = await judge(site, serials, stored);
    for (const note of verdict.notes) say(`  ${note}`);
    const ratio = made / Math.max(1, stored.size);
    return [
      {
        name: `create calls per certificate, ${lost} answers lost`,
        value: Number(ratio.toFixed(4)),
        unit: 'calls',
        goal: '<= 1.001',
        holds: ratio <= 1.001 && stored.size === devices && lost > 0,
      },
      nothing('lost answers: orphans after a sweep', verdict.orphans),
      nothing(
        'lost answers: devices not served, or with a certificate that does not work',
        verdict.lost + verdict.broken,
      ),
    ];
  } finally {
    await site.close();
  }
}
