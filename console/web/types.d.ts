/** What the API answers, as far as the pages read it. Fields of others are ignored. */

export type Role = 'viewer' | 'operator';
export type Session = {
  person: string;
  role: Role;
  csrf: string;
  /** `proxy`: that signs the person in and out */
  by?: 'password' | 'token' | 'proxy';
  site?: string;
  version?: string;
};

/** ISO text, or milliseconds since 1970 */
export type Time = string | number;

export type Check = {
  id: string;
  title?: string;
  state: 'ok' | 'warning' | 'failed' | 'unknown';
  says?: string;
  cure?: string;
};

export type Minute = { at: Time; vended: number; refused: number; repeated?: number };

export type Now = {
  at?: Time;
  site?: string;
  ok?: boolean;
  checks?: Check[];
  line?: { length: number; oldestSeconds?: number; etaSeconds?: number };
  workers?: number;
  brokers?: number;
  quotas?: { name: string; usedPerSecond: number; limitPerSecond: number }[];
  certificates?: { name: string; notAfter: Time }[];
  devices?: { total?: number; registered?: number; silent?: number };
  perMinute?: Minute[];
  refusals?: Record<string, number>;
};

export type DeviceState = 'enrolled' | 'provisioning' | 'registered' | 'blocked';

export type Device = {
  serial: string;
  state: DeviceState;
  site?: string;
  certificateId?: string;
  requestedAt?: Time;
  registeredAt?: Time;
  /** of one device: when its certificate was made */
  issuedAt?: Time;
  /** in a list: false where it has never connected to AWS; absent where that is not known */
  cameAlive?: { connected: boolean };
  /** of one device: when it was first seen at AWS IoT Core, or since when it should have been */
  seenAt?: Time;
  silentSince?: Time;
};

export type DevicePage = {
  devices: Device[];
  next?: string;
  total?: number;
  /** of the silent ones: when AWS was asked; absent where it never was */
  asked?: { at: Time; unasked: number; reason?: string };
};

export type Outcome = 'ok' | 'waiting' | 'refused' | 'failed';

export type Step = {
  at: Time;
  part?: string;
  step: string;
  outcome?: Outcome;
  detail?: string;
  [field: string]: unknown;
};

export type Explanation = {
  device?: Device;
  verdict?: { id: string; title?: string; cause?: string; cure?: string; state?: 'ok' | 'waiting' | 'problem' };
  timeline?: Step[];
  near?: string[];
  missing?: string[];
};

export type DeviceEvent = {
  serial?: string;
  at?: Time;
  event?: string;
  step?: string;
  outcome?: Outcome;
  errorCode?: string;
  /** of the event `more`: how many happened beside those that are told one by one */
  more?: number;
};

/** A label whose token is worthless: the device has another one, or was removed */
export type Worthless = { serial: string; why: 'reissued' | 'removed'; at?: Time; by?: string };
export type WithToken = { serial: string; token: string; site?: string; worthless?: Worthless };
export type BadRow = { line: number; serial?: string; reason: string; cure: string };
export type Preview = {
  rows: number;
  good: number;
  bad: BadRow[] /** all of them, where `bad` has the first */;
  badRows?: number;
};
export type Imported = { enrolled: WithToken[]; bad: BadRow[] };
export type BulkAction = 'block' | 'unblock' | 'reissue' | 'remove';
export type BulkResult = { serial: string; outcome: string; token?: string; reason?: string; cure?: string };

export type Line = {
  length: number;
  oldestSeconds?: number;
  etaSeconds?: number;
  requests: { place: number; serial: string; requestId: string; since: Time; etaSeconds?: number }[];
};

export type AuditRecord = { at?: Time; event: string; serial?: string; person?: string; [field: string]: unknown };
export type AuditPage = { records: AuditRecord[]; next?: string };
export type AuditVerdict = { records: number; head?: string; faults: string[] };
export type Setting = { name: string; value?: string; from: string; meaning?: string };
export type HelpEntry = { id: string; title?: string; cause: string; cure: string };
