import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type IamRole, iamPolicy, iamRoles } from '../../aws/iam-policy.ts';

/**
 * Records what the product asks the AWS stand-in for in the whole test suite, and compares it role by role with the IAM
 * policy that `cvm aws policy` prints: nothing may be missing in it, and after a whole run nothing may be too much.
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
      // an error at this point is printed, and the run counts as good
      process.exitCode = 1;
      console.error(line);
    }
  };
}

/** @param roles one: what is called in this role; all: what is called by adapters that a test took by themselves */
export function complaints(lines: string, roles: readonly IamRole[], whole: boolean): string[] {
  const called = callsOf(roles.length === 1 ? `cvm-gateway/${roles[0]}` : 'cvm-gateway', lines);
  const scope = { partition: 'aws', region: '*', account: '*', table: 't', policyName: 'p' };
  const allowed = new Set(iamPolicy(roles, scope).Statement.flatMap(({ Action }) => Action));
  const missing = [...called].filter((action) => !allowed.has(action));
  const unused = whole ? [...allowed].filter((action) => !called.has(action)) : [];
  if (missing.length + unused.length === 0) return [];
  const whose = roles.length === 1 ? `of the ${roles[0]} role` : 'of all roles';
  return [`The IAM policy ${whose} lacks [${missing.join(', ')}], and nobody calls [${unused.join(', ')}].`];
}

function callsOf(agent: string, lines: string): Set<string> {
  const actions = lines.split('\n').flatMap((line) => {
    const [operation = '', userAgent = ''] = line.split('\t');
    if (
      !userAgent.split(' ').some((part) => part === agent || (agent === 'cvm-gateway' && part.startsWith(`${agent}/`)))
    )
      return [];
    return [operation.startsWith('DynamoDB.') ? operation.replace('DynamoDB.', 'dynamodb:') : `iot:${operation}`];
  });
  return new Set(actions);
}
