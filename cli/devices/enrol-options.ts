import type { Command } from 'commander';
import type { EnrolSettings } from '../../operator/enrol.ts';
import { lifetimeMs } from '../duration.ts';
import { siteName } from '../site-name.ts';

/** `expires`: milliseconds from now until the token ends */
export type EnrolOptions = {
  expires?: number;
  site?: string;
  policy?: string;
  thingType?: string;
  thingGroup?: string;
  claimGroup?: string;
};

/** The options of every command that enrols. */
export function withEnrolOptions(command: Command): Command {
  return command
    .option('--expires <duration>', 'lifetime of the token: 12h, 30d (default: no end)', lifetimeMs)
    .option('--site <name>', 'the site whose gateways serve the device (default: every gateway does)', siteName)
    .option('--policy <name>', 'IoT policy instead of CVM_POLICY_NAME')
    .option('--thing-type <name>', 'thing type of the device')
    .option('--thing-group <name>', 'thing group that the device joins')
    .option('--claim-group <name>', 'a claim certificate of this group may stand for the device (cvm claims)');
}

export function enrolSettings(options: EnrolOptions): EnrolSettings {
  const { expires, site, policy, thingType, thingGroup, claimGroup } = options;
  const names = { policyName: policy, thingTypeName: thingType, thingGroupName: thingGroup, claimGroup };
  return { tokenLifetimeMs: expires, site, ...names };
}
