import { problems } from '../../protocol/problems.ts';
import type { Case } from '../case.ts';
import type { Profile } from '../profile.ts';
import { askOperator, refusedForGood, refusedForNow } from './refusals.ts';

const page = 'docs/fleet-provisioning.md';

const byClaim = ({ token }: Profile): boolean => token === 'claim certificate';
const onlyByClaim = (profile: Profile) => (byClaim(profile) ? undefined : 'it shows no claim certificate (--claim)');

/**
 * For cases after which a device goes on with the ownership token of an earlier connection: that of a claim certificate ends with its
 * connection, and the device begins anew.
 */
export const exceptByClaim =
  (skip: (profile: Profile) => string | undefined = () => undefined) =>
  (profile: Profile) =>
    byClaim(profile) ? 'by a claim certificate each connection begins anew' : skip(profile);

/** For a device that shows a claim certificate. That it is accepted, the case `plain` shows. */
export const claimCases: readonly Case[] = [
  refusedForGood('claim-revoked', problems.claimRevoked, `${askOperator}: it needs another claim certificate`, {
    plays: 'answers that the claim certificate is revoked (403 Forbidden)',
    reference: `${page}#claim-certificates`,
    skip: onlyByClaim,
  }),
  refusedForNow(
    'claim-limit',
    { ...problems.claimsTooFast, retryAfterSeconds: 4 },
    {
      plays:
        'answers the first request that the claim certificate has asked for as many certificates as it may (429 Throttled, "ask again in 4 s")',
      wants: 'asks again after those seconds, with the same key',
      cure: 'keep the key, wait for the seconds at the end of errorMessage, and ask again: other devices have the same claim certificate, and its hour goes by',
      reference: `${page}#claim-certificates`,
      skip: onlyByClaim,
    },
  ),
];
