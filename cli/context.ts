import { userInfo } from 'node:os';
import type { Issuer } from '../issuer/issuer.ts';
import type { OperatorDeps } from '../operator/deps.ts';
import type { Explanation } from '../operator/explanation.ts';
import type { TakeoverDeps } from '../operator/takeover.ts';
import type { AssociationTable } from '../registry/dynamodb/association-table.ts';
import type { SourceForm } from '../registry/source-table.ts';
import { removeEmpty } from '../runtime/empty-variables.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { type CommandLine, createCommandLine } from './command-line.ts';
import { complain } from './complaint.ts';
import { writeLine } from './output.ts';
import { type Terminal, terminalOf } from './table.ts';

/**
 * The argument of every command; each command declares the part that it needs. A connection is made, and the code for it is loaded, when a
 * command that runs asks for it: `--help` needs no settings and loads nothing, and only a command that calls AWS loads the SDK.
 */
export type CliContext = CommandLine & {
  operator(): Promise<OperatorDeps>;
  /** @param from the table to take over @param callsPerSecond of each operation of AWS IoT Core, and pages of that table */
  takeover(from: string, form: SourceForm | undefined, callsPerSecond: number): Promise<TakeoverDeps & OperatorDeps>;
  table(): Promise<AssociationTable>;
  /** @param callsPerSecond of each operation, so that a sweep leaves AWS's quotas to the workers */
  issuer(callsPerSecond: number): Promise<Issuer>;
  audit(): Promise<Audit>;
  /** one line of standard output */
  write(line: string): void;
  /** that standard output is; undefined where it is a file or a pipe */
  readonly terminal: Terminal | undefined;
  /** as `cvm explain` says it */
  explain(serial: string): Promise<Explanation>;
  /** tells the time by which rows are judged, in epoch milliseconds */
  clock(): Promise<() => number>;
};

/** @param asJson failures are said as JSON */
export function openContext(env: NodeJS.ProcessEnv, asJson = false): CliContext {
  removeEmpty(env);
  const commandLine = createCommandLine(env);
  const unrecorded = (event: string, fields: object, error: Error) => failUnrecorded(event, fields, error, asJson);
  const audit = once(async () => {
    const { keepOperatorAudit } = await import('../app/app.ts');
    const { auditOf } = await import('../telemetry/audit-events.ts');
    return auditOf(keepOperatorAudit(await commandLine.app(), unrecorded), personAtCommandLine());
  });
  return {
    ...commandLine,
    async operator() {
      const { connectOperator } = await import('../app/operator.ts');
      return connectOperator(await commandLine.awsApp(), await audit());
    },
    async takeover(from, form, callsPerSecond) {
      const { connectTakeover } = await import('../app/takeover.ts');
      const given = { from, form, callsPerSecond, onWait: once(sayThrottled) };
      return connectTakeover(await commandLine.awsApp(), await audit(), given);
    },
    table: once(async () => {
      const { connectTable } = await import('../app/aws.ts');
      return connectTable(await commandLine.awsApp(), 'operator');
    }),
    async issuer(callsPerSecond) {
      const { atRate, connectIssuer } = await import('../app/aws.ts');
      return connectIssuer(await commandLine.awsApp(), 'operator', atRate(callsPerSecond));
    },
    audit,
    write: writeLine,
    terminal: terminalOf(process.stdout),
    async explain(serial) {
      const { connectTable } = await import('../app/aws.ts');
      const { openExplainer } = await import('../app/explain.ts');
      const { redisInUse } = await import('../app/redis.ts');
      const app = await commandLine.awsApp();
      return openExplainer(app, redisInUse(app.settings), connectTable(app, 'operator')).explain(serial);
    },
    clock: async () => (await commandLine.awsApp()).awsTime.now,
  };
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

const sayThrottled = () => console.error('cvm: AWS throttles the calls of this command; it waits, and goes on');

/** The decision stands. */
function failUnrecorded(event: string, fields: object, { message }: Error, asJson: boolean): void {
  const { serial } = fields as { serial?: string };
  const what = serial === undefined ? event : `${event} ${serial}`;
  complain(
    { serial, cause: `the audit trail has no record of this (${what}): ${message}`, cure: 'Mend CVM_AUDIT_DIR' },
    asJson,
  );
}

/** As it stands in the audit trail. In a container without a list of users, there is a number only. */
function personAtCommandLine(): string {
  try {
    return `cli:${userInfo().username}`;
  } catch {
    return `cli:${process.getuid?.() ?? ''}`;
  }
}
