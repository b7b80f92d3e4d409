import { userInfo } from 'node:os';
import { keepOperatorAudit } from '../app/app.ts';
import { atRate, connectIssuer, connectTable } from '../app/aws.ts';
import { connectOperator } from '../app/operator.ts';
import { connectTakeover } from '../app/takeover.ts';
import type { Issuer } from '../issuer/issuer.ts';
import type { OperatorDeps } from '../operator/deps.ts';
import type { Explanation } from '../operator/explanation.ts';
import type { TakeoverDeps } from '../operator/takeover.ts';
import type { AssociationTable } from '../registry/dynamodb/association-table.ts';
import type { SourceForm } from '../registry/source-table.ts';
import { removeEmpty } from '../runtime/settings.ts';
import { type Audit, auditOf } from '../telemetry/audit-events.ts';
import { type CommandLine, createCommandLine } from './command-line.ts';
import { writeLine } from './output.ts';
import { type Terminal, terminalOf } from './table.ts';

/**
 * The argument of every command; each command declares the part that it needs. A connection is made when a command that
 * runs asks for it, so that `--help` needs no settings.
 */
export type CliContext = CommandLine & {
  operator(): OperatorDeps;
  /** @param from the table to take over @param callsPerSecond of each operation of AWS IoT Core, and pages of that table */
  takeover(from: string, form: SourceForm | undefined, callsPerSecond: number): TakeoverDeps & OperatorDeps;
  table(): AssociationTable;
  /** @param callsPerSecond of each operation, so that a sweep leaves AWS's quotas to the workers */
  issuer(callsPerSecond: number): Issuer;
  audit(): Audit;
  /** one line of standard output */
  write(line: string): void;
  /** that standard output is; undefined where it is a file or a pipe */
  readonly terminal: Terminal | undefined;
  /** as `cvm explain` says it */
  explain(serial: string): Promise<Explanation>;
  now(): number;
};

export function openContext(env: NodeJS.ProcessEnv): CliContext {
  removeEmpty(env);
  const commandLine = createCommandLine(env);
  const audit = once(() => auditOf(keepOperatorAudit(commandLine.app(), failUnrecorded), personAtCommandLine()));
  return {
    ...commandLine,
    operator: () => connectOperator(commandLine.awsApp(), audit()),
    takeover: (from, form, callsPerSecond) =>
      connectTakeover(commandLine.awsApp(), audit(), { from, form, callsPerSecond, onWait: once(sayThrottled) }),
    table: once(() => connectTable(commandLine.awsApp(), 'operator')),
    issuer: (callsPerSecond) => connectIssuer(commandLine.awsApp(), 'operator', atRate(callsPerSecond)),
    audit,
    write: writeLine,
    terminal: terminalOf(process.stdout),
    async explain(serial) {
      // not for each command: a client of Redis costs as much to load as half of a command
      const { openExplainer } = await import('../app/explain.ts');
      const { redisInUse } = await import('../app/redis.ts');
      const app = commandLine.awsApp();
      return openExplainer(app, redisInUse(app.settings), connectTable(app, 'operator')).explain(serial);
    },
    now: () => commandLine.awsApp().awsTime.now(),
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
function failUnrecorded(event: string, fields: object, { message }: Error): void {
  const { serial = '' } = fields as { serial?: string };
  console.error(
    `cvm: the audit trail has no record of this (${`${event} ${serial}`.trim()}): ${message}. Mend CVM_AUDIT_DIR`,
  );
  process.exitCode = 1;
}

/** As it stands in the audit trail. In a container without a list of users, there is a number only. */
function personAtCommandLine(): string {
  try {
    return `cli:${userInfo().username}`;
  } catch {
    return `cli:${process.getuid?.() ?? ''}`;
  }
}
