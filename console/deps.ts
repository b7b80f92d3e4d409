import type { OperatorDeps } from '../operator/deps.ts';
import type { Explanation } from '../operator/explanation.ts';
import type { HelpEntry } from '../operator/failures.ts';
import type { Status } from '../operator/status.ts';
import type { SessionStore, SignInLimiter } from '../queue/console-sessions.ts';
import type { Directory } from '../queue/directory.ts';
import type { LineOverview } from '../queue/line-overview.ts';
import type { LiveFeed } from '../queue/live.ts';
import type { Log } from '../runtime/log.ts';
import type { Settings } from '../runtime/settings.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { PageFile } from './pages.ts';

/** Certificates and their keys, PEM; more than one where clients of two kinds are served. */
export type ServerTls = { readonly cert: string | string[]; readonly key: string | string[] };

export type ShownSetting = {
  readonly name: string;
  readonly value?: string;
  readonly from: string;
  readonly meaning?: string;
};

/** Everything that the console is built with. */
export type ConsoleDeps = {
  readonly settings: Pick<
    Settings,
    'console' | 'dataDir' | 'auditDir' | 'hostnames' | 'machineName' | 'site' | 'listen'
  >;
  readonly tls: ServerTls & { /** of the certificate */ readonly names: readonly string[] };
  /** the static files, by the path of their URL */
  readonly pages: ReadonlyMap<string, PageFile>;
  readonly sessions: SessionStore & SignInLimiter;
  readonly directory: Directory;
  readonly live: LiveFeed;
  /** `perSecond`: how fast it moves; undefined where it stands still */
  readonly line: LineOverview & {
    state(): Promise<{ readonly length: number; readonly perSecond: number | undefined }>;
  };
  /** how the gateway is, as `cvm status --json` says it */
  status(): Promise<Pick<Status, 'at' | 'ok'>>;
  /** what `cvm explain --json` says of a serial, enrolled or not */
  explain(serial: string): Promise<Explanation>;
  /** the settings of this process, secrets masked */
  readonly settingsShown: readonly ShownSetting[];
  readonly help: readonly HelpEntry[];
  /** the operator's functions; what they decide is recorded as decided by this person */
  operator(by: string): OperatorDeps;
  readonly audit: Audit;
  readonly version: string;
  readonly log: Log;
  /** epoch milliseconds */
  now(): number;
};
