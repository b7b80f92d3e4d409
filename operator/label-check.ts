import { hashToken, sameHash } from '../protocol/token.ts';
import type { Devices } from '../registry/devices.ts';
import { forEachBounded } from './bounded.ts';
import type { Explanation } from './explanation.ts';

/** What is on a label. */
export type DeviceLabel = { readonly serial: string; readonly token: string };

/** A label whose token is worthless: when the device got another one, or was removed, and by whom, as far as the audit trail of this machine says. */
export type WorthlessLabel = {
  readonly serial: string;
  readonly why: 'reissued' | 'removed';
  readonly at?: string;
  readonly by?: string;
};

type LabelDeps = {
  readonly registry: Pick<Devices, 'find'>;
  explain(serial: string): Promise<Pick<Explanation, 'timeline'>>;
};

/** Rows that are asked for at a time. */
const concurrency = 8;

/**
 * Which of these labels are worthless, in their order: another operator may have made a new token since they were shown, at whatever gateway. The table
 * decides. It says nothing about a token that an operator could not replace anyway.
 */
export async function worthlessLabels(labels: readonly DeviceLabel[], deps: LabelDeps): Promise<WorthlessLabel[]> {
  const found: (WorthlessLabel | undefined)[] = [];
  const check = async ({ serial, token }: DeviceLabel): Promise<WorthlessLabel | undefined> => {
    const row = await deps.registry.find(serial);
    if (row !== undefined && row.removal === undefined && sameHash(row.tokenHash, hashToken(token))) return undefined;
    const why = row === undefined || row.removal !== undefined ? 'removed' : 'reissued';
    const { timeline } = await deps.explain(serial);
    const decided = timeline.findLast(({ step }) => step === why);
    const { at, by } = decided ?? {};
    return { serial, why, ...(at === undefined ? {} : { at }), ...(by === undefined ? {} : { by }) };
  };
  await forEachBounded(labels.entries(), concurrency, async ([index, label]) => {
    found[index] = await check(label);
  });
  return found.filter((each) => each !== undefined);
}
