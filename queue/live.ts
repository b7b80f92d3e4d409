import type { AuditEvents } from '../telemetry/audit-events.ts';

/**
 * The events of this gateway, for people who watch: counted by the minute, and device by device. Nothing is decided by them; the audit trail is the
 * record.
 */

/** Those of the audit trail that are about one device. */
type DeviceEvent = {
  [Name in keyof AuditEvents]: 'serial' extends keyof AuditEvents[Name] ? Name : never;
}[keyof AuditEvents];
const deviceEvents: Readonly<Record<DeviceEvent, true>> = {
  enrolled: true,
  'taken-over': true,
  reissued: true,
  moved: true,
  blocked: true,
  unblocked: true,
  removed: true,
  'moved-to-front': true,
  vended: true,
  repeated: true,
  reopened: true,
  'other-withdrawn': true,
  delivered: true,
  'came-alive': true,
  refused: true,
  'swept-up': true,
};

/** Whether a part of the gateway uses this word for a device. Redis is not trusted: an operator never sees another word. */
export const isLiveEvent = (event: string): boolean => Object.hasOwn(deviceEvents, event);

/** `event`: the name of an audit event, or `changed` for a row that was changed elsewhere. `at`: epoch milliseconds */
export type LiveEvent = {
  readonly serial: string;
  readonly event: string;
  readonly at: number;
  readonly errorCode?: string;
};

/** What was decided in one minute. `at`: its begin, epoch milliseconds. `refusals`: how many of each error code */
export type LiveMinute = {
  readonly at: number;
  readonly vended: number;
  readonly refused: number;
  readonly repeated: number;
  readonly refusals: Readonly<Record<string, number>>;
};

/**
 * The side of broker and worker: told of every audit event. Never throws, and never waits: once a second it says all at once. Events that found Redis
 * away are told as a number when it is back.
 */
export interface LivePublisher {
  tell(event: string, fields: object): void;
  close(): Promise<void>;
}

/** The side of those who watch. */
export interface LiveFeed {
  /**
   * @param onEvents what happened in a second, some hundreds at most; `more`: how many beside them
   * @param onMissed called after the connection to Redis was broken: there may have been events in between, and they are lost
   */
  listen(onEvents: (events: readonly LiveEvent[], more: number) => void, onMissed: () => void): Promise<void>;
  /** The last minutes, the oldest first; the last one has not ended. */
  minutes(count: number, now: number): Promise<readonly LiveMinute[]>;
  close(): Promise<void>;
}
