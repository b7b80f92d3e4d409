import { iamPolicy, iamRoles } from '../../aws/iam-policy.ts';
import { devicePolicy } from '../../issuer/setup.ts';

export type PrintedStatement = {
  readonly Action: string | readonly string[];
  readonly Resource: string | readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string>>>>;
};

/** Every policy that the product prints or makes, by name: those of the roles, and the IoT policy of the devices. */
export function printedPolicies(): readonly (readonly [name: string, statements: readonly PrintedStatement[]])[] {
  const scope = { partition: 'aws', region: 'eu-west-1', account: '123456789012', table: 't', policyName: 'p' };
  const { Statement } = JSON.parse(devicePolicy()) as { Statement: PrintedStatement[] };
  return [...iamRoles.map((role) => [role, iamPolicy([role], scope).Statement] as const), ['devices', Statement]];
}

export const listOf = (value: string | readonly string[]): readonly string[] =>
  typeof value === 'string' ? [value] : value;

export function printedActions(): readonly string[] {
  const statements = printedPolicies().flatMap(([, each]) => each);
  return [...new Set(statements.flatMap(({ Action }) => listOf(Action)))].sort();
}
