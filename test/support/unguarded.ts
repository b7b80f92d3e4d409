import type { Guards } from '../../app/broker.ts';
import { defaultLimits } from '../../broker/limits.ts';
import { noRoster } from '../../broker/roster.ts';
import { createBrokerSightings } from '../../broker/sightings.ts';
import { unlimitedTokenAttempts } from '../../queue/token-attempts.ts';
import { noAudit } from '../../runtime/audit.ts';
import { noSightings } from '../../telemetry/sightings.ts';

/** A broker that knows no device, bounds no token attempts and records nothing: for tests of something else. */
export const unguarded: Guards = {
  roster: noRoster,
  tokenAttempts: unlimitedTokenAttempts,
  audit: noAudit,
  sightings: noSightings,
  limits: defaultLimits,
};

/** For a part of a broker that notes what it sees of devices: notes nothing. */
export const noBrokerSightings = createBrokerSightings(noSightings, noRoster);
