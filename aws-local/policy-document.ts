import { z } from 'zod';
import { refuse } from './errors.ts';

const oneOrMany = z
  .union([z.string(), z.array(z.string())])
  .transform((value) => (typeof value === 'string' ? [value] : value));

const shape = z.object({
  Version: z.literal('2012-10-17'),
  Statement: z
    .union([z.array(z.unknown()), z.record(z.string(), z.unknown())])
    .transform((value) => (Array.isArray(value) ? value : [value]))
    .pipe(
      z.array(
        z.object({
          Effect: z.enum(['Allow', 'Deny']),
          Action: oneOrMany,
          Resource: oneOrMany,
          Condition: z.record(z.string(), z.record(z.string(), oneOrMany)).optional(),
        }),
      ),
    ),
});

/** The connecting client. Thing variables have a value only if the client id names a thing that the certificate is attached to. */
export type Connection = { readonly clientId: string; readonly thingName?: string };

/** @throws MalformedPolicyException */
export function checkPolicyDocument(document: string): void {
  if (document.replace(/\s/g, '').length > 2048)
    refuse('MalformedPolicyException', 'The policy document is longer than 2048 characters');
  if (!shape.safeParse(parseJson(document)).success)
    refuse('MalformedPolicyException', 'The policy document is not valid');
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
    (statement) =>
      statement.Action.some((pattern) => matches(pattern, action)) &&
      statement.Resource.some((pattern) => {
        const meant = substitute(pattern, connection);
        return meant !== undefined && matches(meant, resource);
      }) &&
      Object.entries(statement.Condition ?? {}).every(([operator, conditions]) =>
        Object.entries(conditions).every(([name, values]) => holds(operator, name, values, connection)),
      ),
  );
  return (
    fitting.some((statement) => statement.Effect === 'Allow') &&
    !fitting.some((statement) => statement.Effect === 'Deny')
  );
}

/** @see https://docs.aws.amazon.com/iot/latest/developerguide/thing-policy-variables.html */
function substitute(pattern: string, { clientId, thingName }: Connection): string | undefined {
  const values: Record<string, string | undefined> = {
    'iot:ClientId': clientId,
    'iot:Connection.Thing.ThingName': thingName,
  };
  let unknown = false;
  const text = pattern.replace(/\$\{([^}]+)\}/g, (_all, name: string) => {
    const value = values[name];
    if (value === undefined) unknown = true;
    return value ?? '';
  });
  return unknown ? undefined : text;
}

function holds(operator: string, name: string, values: readonly string[], connection: Connection): boolean {
  if (operator !== 'Bool' || name !== 'iot:Connection.Thing.IsAttached') return false;
  return values.includes(String(connection.thingName !== undefined));
}

function matches(pattern: string, text: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 's').test(text);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
