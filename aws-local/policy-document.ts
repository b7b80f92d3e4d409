import { z } from 'zod';
import { refuse } from './errors.ts';
import { type Connection, holds, knownCondition, valuesOf } from './policy-condition.ts';

/** Characters, without white space. @see https://docs.aws.amazon.com/general/latest/gr/iot-core.html "Maximum policy document size" */
const maxLength = 2048;

const oneOrMany = (each: z.ZodString) =>
  z.union([each, z.array(each).min(1)]).transform((value) => (typeof value === 'string' ? [value] : value));

const action = z.string().regex(/^(\*|[a-z0-9-]+:[A-Za-z*?]+)$/, 'not a valid action');
const resource = z.string().regex(/^(\*|arn:[^:\s]*:[^:\s]*:[^:\s]*:[^:\s]*:\S.*)$/s, 'not a valid resource');

const statement = z.strictObject({
  Sid: z.string().optional(),
  Effect: z.enum(['Allow', 'Deny']),
  Action: oneOrMany(action),
  Resource: oneOrMany(resource),
  Condition: z.record(z.string(), z.record(z.string(), oneOrMany(z.string()))).optional(),
});

const shape = z.strictObject({
  Version: z.literal('2012-10-17'),
  Id: z.string().optional(),
  Statement: z.union([z.array(statement).min(1), statement.transform((one) => [one])]),
});

/** @throws MalformedPolicyException */
export function checkPolicyDocument(document: string): void {
  if (document.replace(/\s/g, '').length > maxLength)
    malformed(`it is longer than ${maxLength} characters without white space`);
  const parsed = shape.safeParse(parseJson(document));
  if (!parsed.success) malformed(z.prettifyError(parsed.error));
  // one that is not evaluated would let a Deny pass
  for (const { Condition } of parsed.data?.Statement ?? [])
    for (const [operator, conditions] of Object.entries(Condition ?? {}))
      for (const key of Object.keys(conditions))
        if (!knownCondition(operator, key)) malformed(`the stand-in does not know the condition ${operator} on ${key}`);
}

/**
 * Whether policies allow an action: a statement allows it and no statement denies it.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/iot-policies.html
 */
export function allows(
  documents: readonly string[],
  action: string,
  resource: string,
  connection: Connection,
): boolean {
  const statements = documents.flatMap((document) => shape.parse(parseJson(document)).Statement);
  const fitting = statements.filter(
    ({ Action, Resource, Condition = {} }) =>
      Action.some((pattern) => matches(pattern, action, connection)) &&
      Resource.some((pattern) => matches(pattern, resource, connection)) &&
      Object.entries(Condition).every(([operator, conditions]) =>
        Object.entries(conditions).every(([key, expected]) => holds(operator, key, expected, connection)),
      ),
  );
  return (
    fitting.some((statement) => statement.Effect === 'Allow') &&
    !fitting.some((statement) => statement.Effect === 'Deny')
  );
}

/**
 * A pattern with `*`, `?` and policy variables. The value of a variable is no pattern; a pattern with a variable that has no value
 * matches nothing.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/iot-policy-variables.html
 */
function matches(pattern: string, text: string, connection: Connection): boolean {
  let source = '';
  for (const part of pattern.split(/(\$\{[^}]+\})/)) {
    const [value] = part.startsWith('${') ? valuesOf(part.slice(2, -1), connection) : [wildcards(part)];
    if (value === undefined) return false;
    source += part.startsWith('${') ? escaped(value) : value;
  }
  return new RegExp(`^${source}$`, 's').test(text);
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const wildcards = (text: string) => escaped(text).replaceAll('\\*', '.*').replaceAll('\\?', '.');

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function malformed(reason: string): never {
  return refuse('MalformedPolicyException', `Policy document is Malformed: ${reason}`);
}
