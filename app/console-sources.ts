import type { Explained, HelpEntry } from '../console/deps.ts';
import type { OperatorDeps } from '../operator/deps.ts';
import { showDevice } from '../operator/view.ts';
import { problems, statusCodes } from '../protocol/problems.ts';

/** What the console shows of a device by its row alone. */
export async function explainFromRow(serial: string, operator: OperatorDeps): Promise<Explained | undefined> {
  const shown = await showDevice(serial, operator);
  if (shown.outcome !== 'found') return undefined;
  const { enrolledAt, requestedAt, issuedAt, deliveredAt } = shown.device;
  const times = {
    enrolled: enrolledAt,
    requested: requestedAt,
    'certificate went live': issuedAt,
    delivered: deliveredAt,
  };
  const timeline = Object.entries(times).flatMap(([step, at]) =>
    at === undefined ? [] : [{ at, part: step === 'enrolled' ? 'operator' : 'worker', step, outcome: 'ok' }],
  );
  return { device: { ...shown.device }, timeline };
}

/** What a device is told when it is refused. */
export const helpOfErrorCodes: readonly HelpEntry[] = Object.entries(problems).map(([name, { code, message }]) => {
  const [cause = '', ...cure] = message.split(/[;:] /);
  return { id: name, title: `${code} ${statusCodes[code]}`, cause, cure: cure.join('; ') || 'see docs/protocol.md' };
});
