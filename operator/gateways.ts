import type { Gateways } from '../registry/gateways.ts';
import type { OperatorDeps } from './deps.ts';

export type ForgetDeps = Pick<OperatorDeps, 'audit' | 'now'> & { readonly gateways: Pick<Gateways, 'forget'> };

/** Seals the keys of no more devices to this gateway: its key was stolen, or the gateway is gone. */
export async function forgetGateway(
  id: string,
  { gateways, audit, now }: ForgetDeps,
): Promise<{ readonly outcome: 'forgotten' | 'unknown' }> {
  if (!(await gateways.forget(id, now()))) return { outcome: 'unknown' };
  audit.record('gateway-forgotten', { gateway: id });
  return { outcome: 'forgotten' };
}
