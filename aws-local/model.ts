import type { Input } from './account.ts';
import { refuse } from './errors.ts';

/**
 * Each member of an input, as the service model has it: type, pattern, lengths and values. A member means the same in all operations,
 * so one table serves them all. Which of them an operation requires is in `routes.ts`.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/API_Operations_AWS_IoT.html
 */
const text = (pattern: string, max: number, min = 1) =>
  ({ is: 'text', pattern: new RegExp(`^(?:${pattern})$`), min, max }) as const;
const oneOf = (...values: string[]) => ({ is: 'value', values }) as const;
const any = '[\\s\\S]*';
const name = text('[a-zA-Z0-9:_-]+', 128);
const flag = { is: 'flag' } as const;
const whole = { is: 'whole', min: Number.NEGATIVE_INFINITY, max: Number.POSITIVE_INFINITY } as const;
const size = { is: 'whole', min: 1, max: 250 } as const;
const arn = text(any, 2048, 0);
const map = (key: ReturnType<typeof text>, value: ReturnType<typeof text>) => ({ is: 'map', key, value }) as const;
const structure = (members: Readonly<Record<string, Rule>>) => ({ is: 'structure', members }) as const;
const attributeName = text('[a-zA-Z0-9_.,@/:#-]+', 128);
const attributeValue = text('[a-zA-Z0-9_.,@/:#=[\\]-]*', 800, 0);
const attributePayload = structure({ attributes: map(attributeName, attributeValue), merge: flag });

type Rule =
  | ReturnType<typeof text>
  | ReturnType<typeof oneOf>
  | { readonly is: 'flag' }
  | { readonly is: 'whole'; readonly min: number; readonly max: number }
  | ReturnType<typeof map>
  | { readonly is: 'structure'; readonly members: Readonly<Record<string, Rule>> };

const members: Readonly<Record<string, Rule>> = {
  attributeName,
  attributePayload,
  attributeValue,
  billingGroupName: name,
  certificateId: text('(0x)?[a-fA-F0-9]+', 64, 64),
  certificateSigningRequest: text(any, 4096),
  endpointType: text(any, 128, 0),
  credentialDurationSeconds: { is: 'whole', min: 900, max: 43_200 },
  expectedVersion: whole,
  forceDelete: flag,
  isAscendingOrder: flag,
  marker: text('[A-Za-z0-9+/]+={0,2}', 1024, 0),
  maxResults: size,
  newStatus: oneOf('ACTIVE', 'INACTIVE', 'REVOKED', 'PENDING_TRANSFER', 'REGISTER_INACTIVE', 'PENDING_ACTIVATION'),
  nextToken: text(any, 8192, 0),
  pageSize: size,
  parameters: map(text(any, 2048, 0), text(any, 4096, 0)),
  parentGroupName: name,
  policyDocument: text(any, 404_600, 0),
  policyName: text('[\\w+=,.@-]+', 128),
  policyVersionId: text('[0-9]+', Number.POSITIVE_INFINITY),
  principal: arn,
  recursive: flag,
  removeThingType: flag,
  roleAlias: text('[\\w=,@-]+', 128),
  roleArn: text(any, 2048, 20),
  setAsActive: flag,
  setAsDefault: flag,
  target: arn,
  templateBody: text(any, 10_240, 0),
  thingArn: arn,
  thingGroupArn: arn,
  thingGroupName: name,
  thingGroupProperties: structure({ thingGroupDescription: text(any, 2028, 0), attributePayload }),
  thingIndexingConfiguration: structure({
    thingIndexingMode: oneOf('OFF', 'REGISTRY', 'REGISTRY_AND_SHADOW'),
    thingConnectivityIndexingMode: oneOf('OFF', 'STATUS'),
  }),
  thingName: name,
  thingPrincipalType: oneOf('EXCLUSIVE_THING', 'NON_EXCLUSIVE_THING'),
  thingTypeName: name,
  thingTypeProperties: structure({ thingTypeDescription: text(any, 2028, 0) }),
  undoDeprecate: flag,
  usePrefixAttributeValue: flag,
};

/**
 * The input as operations may take it: every member is of its type, also those that came as text in path, query or header.
 * @throws InvalidRequestException
 */
export function checkInput(given: Readonly<Record<string, unknown>>, required: readonly string[]): Input {
  const missing = required.find((member) => (given[member] ?? null) === null);
  if (missing !== undefined) invalid(missing, null, 'Member must not be null');
  const checked: Record<string, unknown> = {};
  for (const [member, value] of Object.entries(given)) {
    const rule = Object.hasOwn(members, member) ? members[member] : undefined;
    // AWS ignores what the model does not name
    if (rule !== undefined && value !== null && value !== undefined) checked[member] = read(member, value, rule);
  }
  return checked as Input;
}

function read(path: string, value: unknown, rule: Rule): unknown {
  switch (rule.is) {
    case 'text':
      if (typeof value !== 'string') return invalid(path, value, 'Member must be a string');
      if (value.length < rule.min) invalid(path, value, `Member must have length greater than or equal to ${rule.min}`);
      if (value.length > rule.max) invalid(path, value, `Member must have length less than or equal to ${rule.max}`);
      if (rule.pattern.test(value)) return value;
      return invalid(path, value, `Member must satisfy regular expression pattern: ${rule.pattern.source}`);
    case 'value':
      if (rule.values.includes(value as string)) return value;
      return invalid(path, value, `Member must satisfy enum value set: [${rule.values.join(', ')}]`);
    case 'flag':
      if (typeof value === 'boolean') return value;
      if (value === 'true' || value === 'false') return value === 'true';
      return invalid(path, value, 'Member must be true or false');
    case 'whole':
      return readWhole(path, value, rule);
    case 'map':
      return Object.fromEntries(
        entriesOf(path, value).map(([key, item]) => [
          read(`${path}.key`, key, rule.key),
          read(`${path}.${key}`, item, rule.value),
        ]),
      );
    case 'structure':
      return Object.fromEntries(
        entriesOf(path, value).flatMap(([member, item]) => {
          const inner = Object.hasOwn(rule.members, member) ? rule.members[member] : undefined;
          return inner === undefined || item === null ? [] : [[member, read(`${path}.${member}`, item, inner)]];
        }),
      );
  }
}

function readWhole(path: string, value: unknown, { min, max }: { min: number; max: number }): number {
  const number = typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number)) return invalid(path, value, 'Member must be an integer');
  if (number < min) invalid(path, value, `Member must have value greater than or equal to ${min}`);
  if (number > max) invalid(path, value, `Member must have value less than or equal to ${max}`);
  return number;
}

function entriesOf(path: string, value: unknown): [string, unknown][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return Object.entries(value);
  return invalid(path, value, 'Member must be an object');
}

function invalid(path: string, value: unknown, constraint: string): never {
  return refuse(
    'InvalidRequestException',
    `1 validation error detected: Value ${JSON.stringify(value)?.slice(0, 200)} at '${path}' failed to satisfy constraint: ${constraint}`,
  );
}
