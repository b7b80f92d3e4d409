import type { Read } from '../status.ts';

export type Part = 'broker' | 'worker';

/**
 * What the checks look at. Each is read once, however many checks want it. A `problem` without a cure says why it could not be looked at;
 * with a cure, that is what a person must mend. Times in epoch milliseconds, sizes in bytes.
 */
export type DoctorSources = {
  readonly settings: SettingsFacts;
  readonly parts: readonly Part[];
  now(): number;

  /** undefined before the first start of a broker */
  certificate(): Promise<Read<CertificateFacts | undefined>>;
  port(): Promise<PortFacts>;
  folders(): Promise<readonly FolderFacts[]>;
  disks(): Promise<readonly DiskFacts[]>;
  memory(): Promise<{ readonly totalBytes: number; readonly freeBytes: number }>;
  /** undefined where the machine does not say */
  timeIsSynchronized(): Promise<boolean | undefined>;
  /** `unused`: no call to AWS goes through it */
  proxies(): Promise<
    readonly { readonly setting: string; readonly problem?: string; readonly cure?: string; readonly unused?: true }[]
  >;

  redis(): Promise<Read<RedisFactsForChecks>>;
  processes(): Promise<
    Read<
      readonly {
        readonly part: string;
        readonly host: string;
        readonly version: string;
        readonly troubles: readonly string[];
      }[]
    >
  >;
  /** the key of the table, as Redis has it and as the table has it */
  tableKeys(): Promise<
    Read<{
      readonly inRedis: string | undefined;
      readonly ofTable: string | undefined;
      readonly pinned: string | undefined;
    }>
  >;
  gateway(): Promise<Read<GatewayFacts>>;
  /** calls a second that are made at most, of operations that AWS throttled */
  throttled(): Promise<
    Read<readonly { readonly name: string; readonly allowedPerSecond: number; readonly limitPerSecond: number }[]>
  >;

  credentials(): Promise<CredentialFacts>;
  /** whether AWS answers; `offMs`: how far the clock of this machine is ahead of AWS's */
  aws(): Promise<Read<{ readonly offMs: number | undefined }>>;
  /** the address that devices are given, and whether it can be reached from here */
  endpoint(): Promise<Read<{ readonly address: string; readonly problem?: string }>>;
  policy(): Promise<Read<string | undefined>>;
  /** calls a second that AWS allows the account, by operation; one is missing where AWS's default holds */
  accountQuotas(): Promise<Read<Readonly<Record<string, number>>>>;
  /** undefined: there is none */
  table(): Promise<Read<TableFacts | undefined>>;
  /** `none`: the service at the endpoint has no backups at all */
  backups(): Promise<Read<'on' | 'off' | 'none'>>;
  /** the attribute by which DynamoDB deletes rows; undefined: none */
  timeToLive(): Promise<Read<string | undefined>>;
  sweptAt(): Promise<Read<number | undefined>>;
  permissions(service: 'iot' | 'dynamodb'): Promise<readonly PermissionTry[]>;

  readonly mend: {
    permissionsOf(path: string, mode: number): Promise<string>;
    appendOnly(): Promise<string>;
    serverCertificate(): Promise<string>;
  };
};

export type SettingsFacts = {
  /** mistakes in the settings of AWS that do not fit together, one sentence each */
  readonly problems: readonly string[];
  readonly hostnames: readonly string[];
  readonly site: string | undefined;
  readonly table: string;
  readonly policyName: string;
  readonly newSite: boolean;
  readonly quotasOff: boolean;
  /** of the scarce calls of a vend: what the gateway goes by */
  readonly quotas: readonly {
    readonly operation: string;
    readonly perSecond: number;
    /** AWS's default; another number is of CVM_QUOTAS */
    readonly byDefault: number;
  }[];
  readonly sweepEveryMs: number;
  readonly replicas: number;
  readonly isStandIn: boolean;
  /** then the addresses of this machine are none that devices know */
  readonly inContainer: boolean;
  /** by which the gateway itself lets DynamoDB delete rows */
  readonly timeToLiveAttribute: string | undefined;
};

export type CertificateFacts = {
  readonly own: boolean;
  readonly names: readonly string[];
  /** names of CVM_HOSTNAMES that are not in the certificate */
  readonly missing: readonly string[];
  readonly notBefore: number;
  readonly notAfter: number;
  readonly caNotAfter: number | undefined;
};

export type PortFacts = {
  readonly port: number;
  readonly listen: string;
  /** `ours`: a broker with our certificate has it */
  readonly state: 'free' | 'ours' | 'taken' | 'not-allowed' | 'any' | 'no-address';
};

export type FolderFacts = {
  readonly path: string;
  readonly what: string;
  /** `damaged`: a file whose content is none that a start can use */
  readonly state:
    | 'good'
    | 'missing'
    | 'no-folder'
    | 'not-writable'
    | 'read-only-disk'
    | 'damaged'
    | 'open-to-others'
    | 'of-another-user';
  /** octal */
  readonly mode: number;
  /** what it should be */
  readonly wanted: number;
};

export type DiskFacts = { readonly path: string; readonly freeBytes: number; readonly totalBytes: number };

export type RedisFactsForChecks = {
  readonly where: string;
  readonly server: string;
  readonly version: string;
  readonly usedBytes: number;
  readonly maxBytes: number | undefined;
  readonly maxmemoryPolicy: string;
  readonly appendOnly: boolean;
  readonly appendFsync: string | undefined;
  readonly diskProblem: string | undefined;
  readonly hasPassword: boolean | undefined;
  readonly isOnThisMachine: boolean;
  readonly time: number;
  /** why it takes no writes, with the cure */
  readonly trouble: { readonly problem: string; readonly cure: string } | undefined;
};

export type GatewayFacts = {
  readonly id: string | undefined;
  readonly state: 'approved' | 'waiting' | 'unknown';
};

export type CredentialFacts = {
  readonly region: string | undefined;
  readonly account: string | undefined;
  /** what a person must change before any call can be made */
  readonly missing: readonly string[];
  /** why they cannot be fetched now */
  readonly away: string | undefined;
  readonly named: boolean;
};

export type TableFacts = {
  readonly status: string;
  readonly keys: readonly string[];
  readonly isAssociationTable: boolean;
  readonly index: 'there' | 'being-built' | 'missing';
  readonly rows: number;
};

/** An action of IAM, and whether the identity of this machine may use it. */
export type PermissionTry = {
  readonly action: string;
  readonly outcome: 'allowed' | 'denied' | 'untried' | 'unclear';
  /** AWS's text, or why it was not tried */
  readonly why?: string;
  /** what fails without it: the worker, `cvm devices`, or nothing but the news whether devices came alive */
  readonly of: 'gateway' | 'operator' | 'came-alive';
};
