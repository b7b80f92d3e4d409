import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AwsOperation, type IamRole, iamPolicy, iamRoles, permissionFor } from '../../aws/iam-policy.ts';

/**
 * Records the calls that the product makes to the AWS stand-in in a test run, and compares them role by role with the IAM
 * policy that `cvm aws policy` prints. The policy may lack no action; after a whole run it may have none that is not called.
 */
export default function setup() {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-calls-'));
  const file = join(folder, 'calls.tsv');
  process.env.STAND_IN_CALL_LOG = file;
  const whole = !process.argv.slice(2).some((argument) => argument !== 'run' && !argument.startsWith('-'));
  return () => {
    const lines = existsSync(file) ? readFileSync(file, 'utf8') : '';
    rmSync(folder, { recursive: true, force: true });
    for (const line of [
      ...complaints(lines, iamRoles, false),
      ...iamRoles.flatMap((role) => complaints(lines, [role], whole)),
    ]) {
      // an error that is thrown here is printed, and the run still counts as good
      process.exitCode = 1;
      console.error(line);
    }
  };
}

/** @param roles one role: its calls; all roles: also the calls of adapters that a test uses without a role */
export function complaints(lines: string, roles: readonly IamRole[], whole: boolean): string[] {
  const called = callsOf(roles.length === 1 ? `cvm-gateway/${roles[0]}` : 'cvm-gateway', lines);
  const scope = { partition: 'aws', region: '*', account: '*', table: 't', policyName: 'p' };
  const allowed = new Set(iamPolicy(roles, scope).Statement.flatMap(({ Action }) => Action));
  const missing = [...called].filter((action) => !allowed.has(action));
  const unused = whole ? [...allowed].filter((action) => !called.has(action)) : [];
  const policy = `The IAM policy of ${roles.length === 1 ? `the ${roles[0]} role` : 'all roles'}`;
  const list = (actions: readonly string[]) => actions.join(', ');
  return [
    ...(missing.length === 0
      ? []
      : [`${policy} does not allow what tests call: ${list(missing)}. Add it in aws/iam-policy.ts.`]),
    ...(unused.length === 0
      ? []
      : [`${policy} allows what no test calls: ${list(unused)}. Remove it from aws/iam-policy.ts, or test it.`]),
  ];
}

function callsOf(agent: string, lines: string): Set<string> {
  const actions = lines.split('\n').flatMap((line) => {
    const [operation = '', userAgent = ''] = line.split('\t');
    if (
      !userAgent.split(' ').some((part) => part === agent || (agent === 'cvm-gateway' && part.startsWith(`${agent}/`)))
    )
      return [];
    const [service = '', name] = operation.includes('.') ? operation.split('.') : ['iot', operation];
    return [permissionFor(`${service.toLowerCase()}:${name}` as AwsOperation)];
  });
  return new Set(actions);
}
