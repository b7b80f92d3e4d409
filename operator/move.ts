import { serves } from '../registry/site.ts';
import { announce } from './announce.ts';
import type { OperatorDeps } from './deps.ts';
import { findIdle, noPatience, type Patience, type Refusal, untilItStands, urgentTries } from './device.ts';
import type { FollowUp } from './follow-up.ts';

export type MoveOutcome =
  /**
   * `from`: absent where it had no site. `needsKeys`: its token can still get it a certificate, and no gateway of its new site has its keys, so
   * the token works in a message, and not as a TLS pre-shared key. `unserved`: there where no gateway of its new site is known, so none
   * vends for it
   */
  | ({
      readonly outcome: 'moved';
      readonly from?: string;
      readonly needsKeys: boolean;
      readonly unserved?: true;
    } & Pick<FollowUp, 'unannounced'>)
  /** it has this site already; nothing was changed */
  | { readonly outcome: 'is-there' }
  | Refusal;

export type MoveDeps = Pick<OperatorDeps, 'announce' | 'audit' | 'now' | 'gateways'> & {
  readonly registry: Pick<OperatorDeps['registry'], 'find' | 'move'>;
};

/**
 * Gives a device to another site. It keeps its token and its certificate, also one that it has not fetched yet: the gateways of the new site
 * give it the same answer. An attempt that is under way ends, and writes nothing more.
 * @param site without it, every gateway serves the device
 */
export function move(
  serial: string,
  site: string | undefined,
  deps: MoveDeps,
  patience: Patience = noPatience,
): Promise<MoveOutcome> {
  return untilItStands(patience.force ? urgentTries : 1, () => moveOnce(serial, site, deps, patience));
}

async function moveOnce(
  serial: string,
  site: string | undefined,
  deps: MoveDeps,
  patience: Patience,
): Promise<MoveOutcome> {
  const found = await findIdle(serial, deps, patience);
  if (found.outcome !== 'found') return found;
  const { device } = found;
  const { site: from, removal, deliveredAt, sealedKeys = {} } = device;
  if (removal !== undefined) return { outcome: 'being-removed' };
  if (from === site) return { outcome: 'is-there' };
  if (!(await deps.registry.move(device, site))) return { outcome: 'changed' };
  deps.audit.record('moved', {
    serial,
    ...(from === undefined ? {} : { from }),
    ...(site === undefined ? {} : { to: site }),
  });
  const serving = (await deps.gateways()).filter((gateway) => serves(gateway.site, site));
  const needsKeys = deliveredAt === undefined && !serving.some(({ id }) => sealedKeys[id] !== undefined);
  // the gateways of the old site forget it, those of the new one learn of it
  const told = [await announce([serial], deps, from), await announce([serial], deps, site)];
  return {
    outcome: 'moved',
    ...(from === undefined ? {} : { from }),
    needsKeys,
    ...(serving.length === 0 ? { unserved: true as const } : {}),
    ...told.find(({ unannounced }) => unannounced !== undefined),
  };
}
