import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { iamPolicy, iamRoles } from '../../worker/iam-policy.ts';

/**
 * Records what the product asks the AWS stand-in for in the whole test suite, and compares it with the IAM policy that
 * `cvm aws policy` prints: nothing may be missing in it, and after a whole run nothing may be too much.
 */
export default function setup() {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-calls-'));
  const file = join(folder, 'calls.tsv');
  process.env.STAND_IN_CALL_LOG = file;
  const whole = !process.argv.slice(2).some((argument) => argument !== 'run' && !argument.startsWith('-'));
  return () => {
    const called = existsSync(file) ? callsOf('cvm-gateway', readFileSync(file, 'utf8')) : new Set<string>();
    rmSync(folder, { recursive: true, force: true });
    const scope = { partition: 'aws', region: '*', account: '*', table: 't', policyName: 'p' };
    const allowed = new Set(iamPolicy(iamRoles, scope).Statement.flatMap(({ Action }) => Action));
    const missing = [...called].filter((action) => !allowed.has(action));
    const unused = whole ? [...allowed].filter((action) => !called.has(action)) : [];
    if (missing.length + unused.length === 0) return;
    // an error at this point is printed, and the run counts as good
    process.exitCode = 1;
    console.error(`The IAM policy lacks [${missing.join(', ')}], and nobody calls [${unused.join(', ')}].`);
  };
}

function callsOf(agent: string, lines: string): Set<string> {
  const actions = lines.split('\n').flatMap((line) => {
    const [operation = '', userAgent = ''] = line.split('\t');
    if (!userAgent.includes(agent)) return [];
    return [operation.startsWith('DynamoDB.') ? operation.replace('DynamoDB.', 'dynamodb:') : `iot:${operation}`];
  });
  return new Set(actions);
}
