import { withAws } from './aws.ts';
import { type Check, fail, ok, skipped, type Verdict, warn } from './check.ts';
import type { PermissionTry } from './sources.ts';

const permissionCheck = (service: 'iot' | 'dynamodb', title: string): Check => ({
  id: `permissions-${service}`,
  title,
  finds:
    'an action of the policy that "cvm aws policy" prints is not allowed. Each is tried by a call that changes nothing: on a thing, certificate or row that does not exist, or with a condition that cannot hold',
  parts: ['worker'],
  quick: false,
  atStart: false,
  async look(sources) {
    let tries: readonly PermissionTry[] = [];
    const verdicts = await withAws(sources, async () => {
      tries = await sources.permissions(service);
      return judgeAllowed(tries);
    });
    return [...verdicts, ...tries.flatMap(judgeTry)];
  },
});

export const permissionChecks: readonly Check[] = [
  permissionCheck('iot', 'permissions of AWS IoT'),
  permissionCheck('dynamodb', 'permissions of DynamoDB'),
];

function judgeAllowed(tries: readonly PermissionTry[]): Verdict {
  const allowed = tries.filter(({ outcome }) => outcome === 'allowed');
  return allowed.length === 0
    ? skipped('none was found to be allowed')
    : ok(`${allowed.length} allowed: ${allowed.map(({ action }) => action.replace(/^.*:/, '')).join(', ')}`);
}

function judgeTry({ action, outcome, why = '', of }: PermissionTry): Verdict[] {
  if (outcome === 'allowed') return [];
  if (outcome !== 'denied') return [skipped(`${action} could not be tried: ${why}`)];
  const bad = {
    seen: `${action} is denied: ${why}`,
    cause: needs[of],
    cure: `allow ${action} to the identity that AWS names; "cvm aws policy" prints the whole policy`,
  };
  return [of === 'gateway' ? fail(bad) : warn(bad)];
}

const needs: Readonly<Record<PermissionTry['of'], string>> = {
  gateway: 'a worker needs it to vend, or to repair',
  operator: 'commands that enrol or change devices need it',
  'came-alive': 'without it, the gateway cannot list devices that never connected to AWS',
};
