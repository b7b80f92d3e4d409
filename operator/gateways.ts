import type { Devices } from '../registry/devices.ts';
import type { Gateways, KnownGateway } from '../registry/gateways.ts';
import { serves } from '../registry/site.ts';
import type { OperatorDeps } from './deps.ts';

type Deps<Method extends keyof Gateways> = Pick<OperatorDeps, 'audit'> & { readonly gateways: Pick<Gateways, Method> };

/** From now on what this gateway signs is trusted, and the keys of devices that are enrolled are sealed to it. */
export async function approveGateway(
  id: string,
  { gateways, audit }: Deps<'approve'>,
): Promise<{ readonly outcome: 'approved' | 'was-approved' | 'unknown' }> {
  const outcome = await gateways.approve(id);
  if (outcome === 'approved') audit.record('gateway-approved', { gateway: id, by: 'operator' });
  return { outcome };
}

/** How many devices that this gateway serves may still use their token, and have no keys for this gateway: with TLS-PSK they cannot use it here. */
export async function countWithoutKeys(
  { id, site: ofGateway }: Pick<KnownGateway, 'id' | 'site'>,
  { registry }: { readonly registry: Pick<Devices, 'list'> },
): Promise<number> {
  let count = 0;
  for await (const { state, site, deliveredAt, sealedKeys } of registry.list())
    if (serves(ofGateway, site) && state !== 'blocked' && deliveredAt === undefined && sealedKeys?.[id] === undefined)
      count++;
  return count;
}

/** Trusts nothing that this gateway signs, and seals the keys of no more devices to this gateway: its key was stolen, or the gateway is gone. */
export async function forgetGateway(
  id: string,
  { gateways, audit }: Deps<'forget'>,
): Promise<{ readonly outcome: 'forgotten' | 'unknown' }> {
  if (!(await gateways.forget(id))) return { outcome: 'unknown' };
  audit.record('gateway-forgotten', { gateway: id });
  return { outcome: 'forgotten' };
}
