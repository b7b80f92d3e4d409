import type { Device } from '../registry/device.ts';
import type { ProductRecord } from '../telemetry/audit-events.ts';
import type { Sighting } from '../telemetry/sightings.ts';
import type { FailureId, GoodStateId } from './failures.ts';
import type { DeviceView } from './view.ts';

/** `cvm explain SERIAL --json`, and the console's page of one device. Times are ISO 8601. */
export type Explanation = {
  /** `state` is `not-enrolled` where the table has no row of this serial, `unknown` where it could not be read */
  readonly device: DeviceView | { readonly serial: string; readonly state: 'not-enrolled' | 'unknown' };
  readonly verdict: Verdict;
  /** oldest first */
  readonly timeline: readonly TimelineEntry[];
  /** where this serial is not enrolled: enrolled serials that look like it, the most alike first */
  readonly near?: readonly string[];
  /** what could not be looked at, with the reason: the verdict is made of the rest */
  readonly missing?: readonly string[];
};

export type Verdict = {
  readonly id: FailureId | GoodStateId;
  readonly title: string;
  readonly cause: string;
  /** empty where nothing is to be done */
  readonly cure: string;
  readonly state: 'ok' | 'waiting' | 'problem';
};

export type TimelineEntry = {
  readonly at: string;
  readonly part: 'broker' | 'worker' | 'aws' | 'device' | 'operator';
  readonly step: string;
  readonly outcome: 'ok' | 'waiting' | 'refused' | 'failed';
  readonly detail?: string;
  /** how often it was seen, where more than once, and since when */
  readonly count?: number;
  readonly since?: string;
  readonly from?: string;
  /** the person who decided it, as the audit trail names it: `cli:NAME`, `console:NAME`, `token:NAME` */
  readonly by?: string;
  readonly requestId?: string;
  readonly errorCode?: string;
  /** nothing proves that it was the device itself */
  readonly unproven?: true;
};

/** How the gateway is, as far as this device depends on it; undefined: not known. */
export type GatewayHealth = {
  /** why Redis takes no requests */
  readonly redis?:
    | { readonly id: 'redis-away' | 'redis-full'; readonly problem: string; readonly cure?: string }
    | undefined;
  readonly brokers?: 'there' | 'none' | undefined;
  readonly workers?: 'there' | 'none' | undefined;
};

/** A call of AWS that did not succeed. */
export type FailedCall = {
  readonly operation?: string;
  readonly error?: string;
  readonly outcome?: string;
};

export type ExplainFacts = {
  readonly serial: string;
  /** epoch milliseconds */
  readonly now: number;
  /** undefined: there is no row; or why the table could not be read */
  readonly device:
    | Device
    | undefined
    | { readonly unread: FailedCall & { readonly problem: string; readonly cure?: string } };
  /** of this serial, oldest first */
  readonly records: readonly ProductRecord[];
  readonly sightings: readonly Sighting[];
  /** failed handshakes that named no serial */
  readonly nameless: readonly Sighting[];
  /** enrolled serials that look like this one */
  readonly near: readonly string[];
  readonly health: GatewayHealth;
  /** that this gateway serves */
  readonly site?: string | undefined;
  readonly table: string;
  readonly replayWindowMs: number;
  readonly missing?: readonly string[];
};
