import { isSerial, serialRule } from '../protocol/serial.ts';
import type { Devices } from '../registry/devices.ts';
import { serves } from '../registry/site.ts';
import { isSiteName, siteNameRule } from '../runtime/site-name.ts';
import { type Announcement, createAnnouncer } from './announce.ts';
import { forEachBounded } from './bounded.ts';
import { groupRule, isGroup } from './claims.ts';
import type { OperatorDeps, SealedTo } from './deps.ts';
import { type ListFault, listFault } from './list-faults.ts';
import { expiryOf, storedTokenOf } from './stored-token.ts';
import { weaknessOf } from './token-strength.ts';

/** Settings of a device that several devices can share. */
export type EnrolSettings = {
  /** milliseconds from now until the token ends; without it the token does not end */
  readonly tokenLifetimeMs?: number | undefined;
  /** the site whose gateways serve it; without it, every gateway does */
  readonly site?: string | undefined;
  /** IoT policy instead of the shared one */
  readonly policyName?: string | undefined;
  readonly thingTypeName?: string | undefined;
  readonly thingGroupName?: string | undefined;
  /** a claim certificate of this group may stand for it */
  readonly claimGroup?: string | undefined;
};

export type EnrolRequest = EnrolSettings & {
  readonly serial: string;
  /** a token that the device has already; without it one is made */
  readonly token?: string | undefined;
};

export type EnrolOutcome =
  | { readonly outcome: 'enrolled'; readonly serial: string; readonly token: string }
  /** the serial is in the table already; nothing was changed */
  | { readonly outcome: 'exists'; readonly serial: string }
  | ({ readonly outcome: 'invalid'; readonly serial: string } & ListFault);

export type EnrolDeps = Pick<OperatorDeps, 'gateways' | 'announce' | 'audit' | 'now' | 'makeToken'> & {
  readonly registry: Pick<Devices, 'enrol'>;
};

/** `outcomes` has the order of the requests. `without`: the sites of devices whose keys could be sealed to no gateway; undefined stands for none. */
export type EnrolResult = Announcement & {
  readonly outcomes: readonly EnrolOutcome[];
  readonly without: ReadonlySet<string | undefined>;
};

/**
 * Enrols devices, a bounded number at a time.
 * @param onOutcome is called as soon as each device is decided: a later failure must not cost a token that was made
 * @throws when the table is away; the devices that were enrolled before are then announced as well
 */
export async function enrol(
  requests: readonly EnrolRequest[],
  deps: EnrolDeps,
  { concurrency = 50, onOutcome }: { concurrency?: number; onOutcome?(outcome: EnrolOutcome): void } = {},
): Promise<EnrolResult> {
  const gateways = await deps.gateways();
  const outcomes: EnrolOutcome[] = [];
  const announcer = createAnnouncer(deps);
  let announcement: Announcement = {};
  const without = new Set<string | undefined>();
  try {
    await forEachBounded(requests.entries(), concurrency, async ([index, request]) => {
      const outcome = await enrolDevice(request, deps, gateways);
      outcomes[index] = outcome;
      onOutcome?.(outcome);
      if (outcome.outcome !== 'enrolled') return;
      if (!hasGateway(gateways, request.site)) without.add(request.site);
      await announcer.add(outcome.serial, request.site);
    });
  } finally {
    announcement = await announcer.end();
  }
  return { outcomes, without, ...announcement };
}

/** Whether the keys of a device of this site are sealed to any gateway. */
export const hasGateway = (gateways: readonly SealedTo[], site: string | undefined): boolean =>
  gateways.some((gateway) => serves(gateway.site, site));

/** Enrols one device without an announcement, for callers that enrol many. */
export async function enrolDevice(
  request: EnrolRequest,
  deps: Omit<EnrolDeps, 'gateways' | 'announce'>,
  gateways: readonly SealedTo[],
): Promise<EnrolOutcome> {
  const fault = faultOf(request);
  if (fault !== undefined) return { outcome: 'invalid', serial: request.serial, ...fault };
  return enrolChecked(request, deps, gateways);
}

/** The same for a device in which `faultOf` found no fault. */
export async function enrolChecked(
  request: EnrolRequest,
  deps: Omit<EnrolDeps, 'gateways' | 'announce'>,
  gateways: readonly SealedTo[],
): Promise<EnrolOutcome> {
  const { serial, tokenLifetimeMs, site, policyName, thingTypeName, thingGroupName, claimGroup } = request;
  const token = request.token ?? deps.makeToken();
  const now = deps.now();
  const added = await deps.registry.enrol({
    serial,
    ...storedTokenOf(serial, token, { gateways, site, expiresAt: expiryOf(tokenLifetimeMs, now) }),
    enrolledAt: now,
    ...(site === undefined ? {} : { site }),
    ...(policyName === undefined ? {} : { policyName }),
    ...(thingTypeName === undefined ? {} : { thingTypeName }),
    ...(thingGroupName === undefined ? {} : { thingGroupName }),
    ...(claimGroup === undefined ? {} : { claimGroup }),
  });
  if (!added) return { outcome: 'exists', serial };
  deps.audit.record('enrolled', { serial });
  return { outcome: 'enrolled', serial, token };
}

/**
 * Why a device cannot be enrolled like this; undefined when it can. Never quotes the token.
 * @param before the token of the device before it, in a file
 */
export function faultOf(request: EnrolRequest, before?: string): ListFault | undefined {
  const { serial, token, site } = request;
  if (!isSerial(serial)) return serialFault(serial);
  // not quoted: where columns were mixed up, it may be a token
  if (site !== undefined && !isSiteName(site)) return listFault('site-name', siteNameRule);
  if (request.claimGroup !== undefined && !isGroup(request.claimGroup)) return listFault('group-name', groupRule);
  for (const [field, { what, pattern, characters }] of Object.entries(awsNames)) {
    const name = request[field as keyof typeof awsNames];
    if (name !== undefined && !pattern.test(name))
      // not quoted: where columns were mixed up, it may be a token
      return listFault('aws-name', `this is no name of a ${what}: AWS takes 1 to 128 of the characters ${characters}`);
  }
  const weakness = token === undefined ? undefined : weaknessOf(token, { serial, before });
  return weakness && listFault(`token-${weakness.id}`, weakness.reason);
}

/** Names the first character that is wrong, and quotes no more: where columns were mixed up, the text may be a token. */
function serialFault(serial: string): ListFault {
  if (serial === '') return listFault('no-serial', 'there is no serial');
  if (/^\d+([.,]\d+)?e\+\d+$/i.test(serial))
    return listFault('serial-rounded', 'a spreadsheet rounded this serial to powers of ten');
  const strange = [...serial].findIndex((character) => !isSerial(character));
  if (strange === -1) return listFault('serial-length', `${serialRule}; this one has ${serial.length}`);
  const found = JSON.stringify([...serial][strange]);
  return listFault('serial-characters', `${serialRule}; this one has ${found} at position ${strange + 1}`);
}

/**
 * What AWS IoT takes as a name. A device with another one would be enrolled, and refused when it asks.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/API_CreatePolicy.html, API_CreateThingType, API_CreateThingGroup
 */
const thingNames = { pattern: /^[A-Za-z0-9:_-]{1,128}$/, characters: 'A-Z a-z 0-9 : _ -' };
const awsNames = {
  policyName: { what: 'policy', pattern: /^[\w+=,.@-]{1,128}$/, characters: 'A-Z a-z 0-9 _ + = , . @ -' },
  thingTypeName: { what: 'thing type', ...thingNames },
  thingGroupName: { what: 'thing group', ...thingNames },
};
