/**
 * How the gateway is, on one page: `cvm status`, its `--json`, and the first page of the console. Times are ISO 8601, durations seconds,
 * sizes bytes, rates calls a second. A part that is absent is not known now; the check of the same name says why.
 */
export type Status = {
  readonly at: string;
  readonly version: string;
  readonly site?: string;
  /** no check failed. A warning does not count: it leaves days */
  readonly ok: boolean;
  readonly checks: readonly StatusCheck[];
  readonly redis?: RedisState & { readonly where: string };
  readonly line?: LineState & { readonly etaSeconds?: number };
  /** how many of each run now, of all machines that share this Redis */
  readonly workers?: number;
  readonly brokers?: number;
  readonly processes?: readonly ProcessState[];
  readonly aws?: AwsPlace;
  readonly quotas: readonly QuotaState[];
  readonly certificates: readonly CertificateState[];
  readonly disks: readonly DiskState[];
  readonly sweep?: { readonly at: string };
  readonly devices?: DeviceCounts;
};

export const statusCheckIds = [
  'redis',
  'brokers',
  'workers',
  'line',
  'aws',
  'table',
  'policy',
  'server-certificate',
  'site-ca',
  'disk',
  'quotas',
  'sweep',
] as const;
export type StatusCheckId = (typeof statusCheckIds)[number];

export type StatusCheck = {
  readonly id: StatusCheckId;
  readonly title: string;
  /** `unknown`: it could not be looked at; `says` has the reason */
  readonly state: 'ok' | 'warning' | 'failed' | 'unknown';
  /** what was seen, in a few words */
  readonly says: string;
  /** what to do about it; for `warning` and `failed` always there */
  readonly cure?: string;
};

export type RedisState = {
  /** `redis 7.0.15`, `valkey 8.0.1` */
  readonly server: string;
  readonly usedBytes: number;
  /** absent where it has no limit */
  readonly maxBytes?: number;
};

export type LineState = {
  readonly length: number;
  /** how long the first has waited */
  readonly oldestSeconds: number;
  /** requests that are answered in a second; absent while the line stands still */
  readonly perSecond?: number;
};

/** A process of the gateway that runs now, as it says itself. */
export type ProcessState = {
  readonly id: string;
  readonly part: 'broker' | 'worker' | 'console';
  readonly version: string;
  readonly host: string;
  readonly pid: number;
  readonly site?: string;
  readonly since: string;
  readonly seenAt: string;
  /** why it cannot do its work now, with the cure; usually none */
  readonly troubles: readonly string[];
};

export type AwsPlace = {
  /** `none, a stand-in` where it is none of AWS's */
  readonly account: string;
  readonly region: string;
  readonly table: string;
  readonly policy: string;
};

/** One operation of AWS IoT Core. */
export type QuotaState = {
  readonly name: string;
  /** calls in the last seconds, of all processes of this gateway */
  readonly usedPerSecond: number;
  /** what the settings say that the account may make */
  readonly limitPerSecond: number;
  /** what the workers make at most at present: less than the limit after AWS throttled */
  readonly allowedPerSecond: number;
};

export type CertificateState = {
  readonly name: 'server' | 'site CA';
  readonly host: string;
  readonly notAfter: string;
};

export type DiskState = {
  readonly host: string;
  readonly path: string;
  readonly freeBytes: number;
  readonly totalBytes: number;
};

/** Of the devices that this gateway serves. By state: absent while the list of devices is filled for the first time. */
export type DeviceCounts = {
  readonly total: number;
  readonly enrolled?: number;
  readonly provisioning?: number;
  readonly registered?: number;
  readonly blocked?: number;
  /** another tool wrote a state that means nothing */
  readonly unknown?: number;
  /** of the whole table: hold a certificate, and never connected to AWS IoT Core with it, as the latest sweep found */
  readonly silent?: number;
};

/** What was read, or why it could not be. */
export type Read<T> = { readonly value: T } | { readonly problem: string; readonly cure?: string };

/** What a status is made of. Times in epoch milliseconds are not used: all is as `Status` has it. */
export type StatusFacts = {
  readonly redis: Read<RedisState>;
  readonly redisWhere: string;
  readonly line: Read<LineState>;
  readonly processes: Read<readonly ProcessState[]>;
  readonly awsPlace: AwsPlace;
  /** whether AWS answers, whatever it says */
  readonly aws: Read<'answers'>;
  readonly table: Read<'there'>;
  readonly policy: Read<'there'>;
  readonly certificates: Read<readonly CertificateState[]>;
  readonly disks: Read<readonly DiskState[]>;
  readonly quotas: Read<readonly QuotaState[]>;
  /** undefined: there was none yet */
  readonly sweptAt: Read<string | undefined>;
  readonly devices: Read<DeviceCounts | undefined>;
  /** milliseconds: how often the workers sweep */
  readonly sweepEveryMs: number;
  /** the server certificate is the operator's own, which nothing renews */
  readonly ownCertificate: boolean;
};
