import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { iamPolicy, iamRoles } from '../../aws/iam-policy.ts';
import { operationNames } from '../../aws-local/routes.ts';

/** `detach-thing-principal` → `DetachThingPrincipal` */
const operationOf = (command: string) =>
  command.replace(/(?:^|-)(\w)/g, (_all, letter: string) => letter.toUpperCase());

describe('the AWS stand-in has every operation of AWS IoT', () => {
  it('that a role of the product may call', () => {
    const scope = { partition: 'aws', region: '*', account: '*', table: 't', policyName: 'p' };
    const actions = iamPolicy(iamRoles, scope).Statement.flatMap(({ Action }) => Action);
    const called = actions.flatMap((action) => (action.startsWith('iot:') ? action.slice('iot:'.length) : []));
    expect(called.length).toBeGreaterThan(10);
    expect(called.filter((name) => !operationNames.includes(name))).toEqual([]);
  });

  it('that our pages and messages tell an operator to call', () => {
    const files = execFileSync('git', ['ls-files', '*.md', '*.ts', '*.yml', ':!test'], { encoding: 'utf8' })
      .trim()
      .split('\n');
    const told = files.flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/\baws iot ([a-z]+(?:-[a-z0-9]+)+)/g)].map(([, command = '']) => command),
    );
    expect(told.filter((command) => !operationNames.includes(operationOf(command)))).toEqual([]);
  });

  it('that an operator needs to look at things, certificates and policies, and to clean them up', () => {
    const commands = [
      'list-things list-thing-principals list-thing-principals-v2 list-principal-things list-principal-things-v2',
      'list-certificates list-policies list-policy-versions list-attached-policies list-targets-for-policy',
      'list-thing-groups-for-thing list-things-in-thing-group',
      'describe-thing describe-certificate describe-thing-type describe-thing-group describe-endpoint',
      'get-policy get-policy-version create-policy-version set-default-policy-version',
      'update-certificate update-thing detach-policy detach-thing-principal remove-thing-from-thing-group',
      'deprecate-thing-type delete-certificate delete-thing delete-policy delete-policy-version',
    ].flatMap((line) => line.split(' '));
    expect(commands.filter((command) => !operationNames.includes(operationOf(command)))).toEqual([]);
  });
});
