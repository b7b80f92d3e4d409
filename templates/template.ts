import {
  certificateIdParameter,
  type Expression,
  type Mappings,
  type Reading,
  readList,
  readText,
  registrationTokenParameter,
  Unresolved,
  type Values,
} from './expression.ts';

/** What becomes of a property that the thing has already. */
export type Override = 'DO_NOTHING' | 'REPLACE' | 'FAIL' | 'MERGE';

/** What a template says of one device. */
export type Registration = {
  readonly thingName: string;
  readonly attributes: Values;
  readonly thingTypeName?: string;
  readonly thingGroupNames: readonly string[];
  /** policies that the certificate gets beside that of the device's row */
  readonly policyNames: readonly string[];
  readonly overrides: { readonly attributes: Override; readonly thingTypeName: Override };
  readonly deviceConfiguration: Values;
};

/** A provisioning template that this gateway can carry out. */
export type Template = {
  readonly name: string;
  /** @param values what the device sent. A refusal is for the device, and quotes nothing that it sent */
  register(
    values: Values,
    certificateId: string,
  ): { readonly registration: Registration } | { readonly refusal: string };
};

/** @see https://docs.aws.amazon.com/iot/latest/apireference/API_CreateProvisioningTemplate.html templateName, templateBody */
export const templateNamePattern = /^[0-9A-Za-z_-]{1,36}$/;
const maxBodyBytes = 10_240;

/**
 * Reads a template in AWS's format, and says all its faults, each with its place.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/provision-template.html
 */
export function readTemplate(
  name: string,
  body: string,
): { readonly template: Template } | { readonly faults: readonly string[] } {
  const faults: string[] = [];
  const fault = (path: string, reason: string) => void faults.push(path === '' ? reason : `${path}: ${reason}`);
  if (!templateNamePattern.test(name))
    fault('', `"${name}" is no name of a template: it has 1 to 36 of the characters A-Z a-z 0-9 _ -`);
  const bytes = Buffer.byteLength(body);
  if (bytes > maxBodyBytes) fault('', `it has ${bytes} bytes; AWS takes at most ${maxBodyBytes}`);
  const sections = parse(body, fault);
  if (sections === undefined) return { faults };
  const template = readSections(name, sections, fault);
  return faults.length > 0 ? { faults } : { template };
}

type Fault = Reading['fault'];
type Fields = Readonly<Record<string, unknown>>;

function parse(body: string, fault: Fault): Fields | undefined {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (error) {
    fault('', `it is not JSON: ${(error as Error).message}`);
    return undefined;
  }
  const sections = fieldsOf(value);
  if (sections === undefined) fault('', 'it is no JSON object');
  else if ('templateBody' in sections) fault('templateBody', isDescription);
  else return sections;
  return undefined;
}

const isDescription =
  'this is the description of a template, and its body is needed: save its templateBody alone, as the AWS CLI gives it by DescribeProvisioningTemplate with "--query templateBody --output text"';

function readSections(name: string, sections: Fields, fault: Fault): Template {
  const known = ['Parameters', 'Mappings', 'Resources', 'DeviceConfiguration'];
  for (const key of Object.keys(sections))
    if (!known.includes(key))
      fault(key, unknownSections.get(key.toLowerCase()) ?? `is no section: there are ${known.join(', ')}`);
  const defaults = readParameters(sections.Parameters, fault);
  const reading: Reading = {
    parameters: new Set(defaults.keys()),
    mappings: readMappings(sections.Mappings, fault),
    fault,
  };
  const resources = readResources(sections.Resources, reading);
  const deviceConfiguration = readTexts(sections.DeviceConfiguration, 'DeviceConfiguration', reading);
  const given = Object.fromEntries(
    [...defaults].flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
  return {
    name,
    register(values, certificateId) {
      const declared = Object.fromEntries(Object.entries(values).filter(([key]) => defaults.has(key)));
      const all = { ...given, ...declared, [certificateIdParameter]: certificateId };
      try {
        return { registration: { ...resources(all), deviceConfiguration: deviceConfiguration(all) } };
      } catch (error) {
        if (error instanceof Unresolved) return { refusal: error.message };
        throw error;
      }
    },
  };
}

const noHook =
  'a pre-provisioning hook is a Lambda function, which a gateway cannot call: leave it out. The registration token of each device stands in its place';
const unknownSections: ReadonlyMap<string, string> = new Map([['preprovisioninghook', noHook]]);

/** @returns the defaults, by name; undefined for a parameter without one */
function readParameters(value: unknown, fault: Fault): Map<string, string | undefined> {
  const defaults = new Map<string, string | undefined>();
  for (const [name, declared] of entriesOf(value, 'Parameters', fault)) {
    const path = `Parameters.${name}`;
    const { Type, Default, ...more } = fieldsOf(declared) ?? {};
    if (Type !== 'String') fault(`${path}.Type`, 'must be "String"');
    if (Default !== undefined && typeof Default !== 'string') fault(`${path}.Default`, 'must be a text');
    for (const key of Object.keys(more)) fault(`${path}.${key}`, 'a parameter has Type and Default only');
    if (name.startsWith('AWS::') && name !== certificateIdParameter) fault(path, onlyOfJitp);
    if (name === registrationTokenParameter) {
      if (Default !== undefined) fault(`${path}.Default`, 'a secret of one device has no default');
      continue;
    }
    // its value is the gateway's
    if (name !== certificateIdParameter) defaults.set(name, typeof Default === 'string' ? Default : undefined);
  }
  return defaults;
}

const onlyOfJitp = `belongs to just-in-time provisioning; a template of fleet provisioning has ${certificateIdParameter} only`;

function readMappings(value: unknown, fault: Fault): Mappings {
  const maps = entriesOf(value, 'Mappings', fault).map(([name, map]) => {
    const path = `Mappings.${name}`;
    const rows = entriesOf(map, path, fault).map(([first, row]) => {
      const cells = entriesOf(row, `${path}.${first}`, fault);
      for (const [second, cell] of cells)
        if (typeof cell !== 'string') fault(`${path}.${first}.${second}`, 'must be a text: Mappings have no functions');
      return [first, Object.fromEntries(cells)] as const;
    });
    return [name, Object.fromEntries(rows)] as const;
  });
  return Object.fromEntries(maps) as Mappings;
}

type Resources = (values: Values) => Omit<Registration, 'deviceConfiguration'>;
type Resource = { readonly path: string; readonly properties: Fields; readonly overrides: Fields };

const resourceTypes = ['AWS::IoT::Thing', 'AWS::IoT::Certificate', 'AWS::IoT::Policy'] as const;

function readResources(value: unknown, reading: Reading): Resources {
  const { fault } = reading;
  const found: Record<string, Resource[]> = {};
  for (const [name, resource] of entriesOf(value, 'Resources', fault)) {
    const path = `Resources.${name}`;
    const { Type, Properties, OverrideSettings, ...more } = fieldsOf(resource) ?? {};
    for (const key of Object.keys(more))
      fault(`${path}.${key}`, 'a resource has Type, Properties and OverrideSettings only');
    if (!resourceTypes.some((type) => type === Type)) {
      fault(`${path}.Type`, `must be one of ${resourceTypes.join(', ')}`);
      continue;
    }
    const overrides = Object.fromEntries(entriesOf(OverrideSettings, `${path}.OverrideSettings`, fault));
    const properties = Object.fromEntries(entriesOf(Properties, `${path}.Properties`, fault));
    found[String(Type)] = [...(found[String(Type)] ?? []), { path, properties, overrides }];
  }
  const thing = readThing(one('AWS::IoT::Thing', found, fault), reading);
  readCertificate(one('AWS::IoT::Certificate', found, fault), reading);
  const policies = (found['AWS::IoT::Policy'] ?? []).map((policy) => readPolicy(policy, reading));
  return (values) => ({ ...thing(values), policyNames: policies.map((policyName) => policyName.valueFor(values)) });
}

function one(
  type: (typeof resourceTypes)[number],
  found: Readonly<Record<string, Resource[]>>,
  fault: Fault,
): Resource | undefined {
  const [first, ...more] = found[type] ?? [];
  if (first === undefined) fault('Resources', `there is no resource of the type ${type}`);
  if (more.length > 0)
    fault('Resources', `there are ${more.length + 1} resources of the type ${type}, and one is needed`);
  return first;
}

const thingProperties = ['ThingName', 'AttributePayload', 'ThingTypeName', 'ThingGroups'];

function readThing(
  thing: Resource | undefined,
  reading: Reading,
): (values: Values) => Omit<Registration, 'deviceConfiguration' | 'policyNames'> {
  if (thing === undefined) return () => ({ ...nothing, thingName: '' });
  const { path, properties, overrides: settings } = thing;
  const { fault } = reading;
  const at = (property: string) => `${path}.Properties.${property}`;
  for (const key of Object.keys(properties))
    if (!thingProperties.includes(key)) fault(at(key), unknownThingProperty.get(key) ?? notAProperty(thingProperties));
  const thingName = readText(properties.ThingName, at('ThingName'), reading);
  if (!thingName.isFree && properties.ThingName !== undefined) fault(at('ThingName'), noSerialInIt);
  const attributes = readTexts(properties.AttributePayload, at('AttributePayload'), reading);
  const { ThingTypeName: type, ThingGroups: groups } = properties;
  const thingTypeName = type === undefined ? undefined : readText(type, at('ThingTypeName'), reading);
  const thingGroups = groups === undefined ? undefined : readList(groups, at('ThingGroups'), reading);
  if (thingGroups?.isFree)
    fault(at('ThingGroups'), `the device would choose its groups, and with them its rights: ${choose}`);
  const overrides = readThingOverrides(settings, `${path}.OverrideSettings`, fault);
  return (values) => ({
    thingName: thingName.valueFor(values),
    attributes: takenByAws(attributes(values)),
    ...(thingTypeName === undefined ? {} : { thingTypeName: thingTypeName.valueFor(values) }),
    thingGroupNames: thingGroups?.valueFor(values) ?? [],
    overrides,
  });
}

/** @see https://docs.aws.amazon.com/iot/latest/apireference/API_AttributePayload.html */
const attributePattern = /^[a-zA-Z0-9_.,@/:#=[\]-]{0,800}$/;

/** AWS would refuse the call, each time that the device asks. @throws Unresolved */
function takenByAws(attributes: Values): Values {
  for (const [name, value] of Object.entries(attributes))
    if (!attributePattern.test(value))
      throw new Unresolved(
        `the attribute ${name} has a value that AWS does not take: at most 800 of the characters A-Z a-z 0-9 _ . , @ / : # = [ ] -`,
      );
  return attributes;
}

const nothing = {
  attributes: {},
  thingGroupNames: [],
  overrides: { attributes: 'DO_NOTHING', thingTypeName: 'DO_NOTHING' },
} as const;

const noSerialInIt =
  'is made of no parameter: it must give the serial that the device has proved, as {"Ref": "SerialNumber"} does';
const choose =
  'choose them by {"Fn::FindInMap": ["Map", {"Ref": "…"}, "key"]}, which gives only what the template lists';
const unknownThingProperty: ReadonlyMap<string, string> = new Map(
  Object.entries({
    BillingGroup: 'this gateway puts no thing into a billing group: leave it out, or use a thing group',
    PackageVersions: 'this gateway sets no package versions: leave it out',
  }),
);
const notAProperty = (properties: readonly string[]) =>
  `is no property of this resource: there are ${properties.join(', ')}`;

/** DO_NOTHING is AWS's default. */
function readThingOverrides(settings: Fields, path: string, fault: Fault): Registration['overrides'] {
  const { AttributePayload, ThingTypeName, ThingGroups, ...more } = settings;
  for (const key of Object.keys(more))
    fault(`${path}.${key}`, notAProperty(['AttributePayload', 'ThingTypeName', 'ThingGroups']));
  readOverride(
    ThingGroups,
    `${path}.ThingGroups`,
    ['DO_NOTHING', 'MERGE'],
    fault,
    ': this gateway takes no thing out of a group',
  );
  return {
    attributes: readOverride(
      AttributePayload,
      `${path}.AttributePayload`,
      ['DO_NOTHING', 'REPLACE', 'FAIL', 'MERGE'],
      fault,
    ),
    thingTypeName: readOverride(ThingTypeName, `${path}.ThingTypeName`, ['DO_NOTHING', 'REPLACE', 'FAIL'], fault),
  };
}

function readOverride(value: unknown, path: string, allowed: readonly Override[], fault: Fault, why = ''): Override {
  const found = allowed.find((each) => each === value);
  if (found === undefined && value !== undefined) fault(path, `must be ${allowed.join(' or ')}${why}`);
  return found ?? 'DO_NOTHING';
}

/** The certificate is the one that the gateway has vended: nothing else can be said of it. */
function readCertificate(certificate: Resource | undefined, reading: Reading): void {
  if (certificate === undefined) return;
  const { path, properties, overrides } = certificate;
  const { fault } = reading;
  const { CertificateId, Status, ...more } = properties;
  const at = (property: string) => `${path}.Properties.${property}`;
  for (const key of Object.keys(more))
    fault(at(key), 'a template of fleet provisioning names the certificate by CertificateId, and has Status beside it');
  const isOwn = fieldsOf(CertificateId)?.Ref === certificateIdParameter;
  if (!isOwn)
    fault(at('CertificateId'), `must be {"Ref": "${certificateIdParameter}"}, the certificate that was vended`);
  if (Status !== undefined && !isActive(Status))
    fault(at('Status'), 'must be "ACTIVE": the gateway hands over no certificate that does not work');
  const { Status: override, ...others } = overrides;
  for (const key of Object.keys(others)) fault(`${path}.OverrideSettings.${key}`, notAProperty(['Status']));
  readOverride(override, `${path}.OverrideSettings.Status`, ['DO_NOTHING', 'REPLACE', 'FAIL'], fault);
}

const isActive = (status: unknown): boolean => typeof status === 'string' && status.toUpperCase() === 'ACTIVE';

function readPolicy({ path, properties, overrides }: Resource, reading: Reading): Expression {
  const { fault } = reading;
  const { PolicyName, PolicyDocument, ...more } = properties;
  const at = (property: string) => `${path}.Properties.${property}`;
  for (const key of Object.keys(more)) fault(at(key), notAProperty(['PolicyName']));
  if (Object.keys(overrides).length > 0) fault(`${path}.OverrideSettings`, 'a policy has none');
  if (PolicyDocument !== undefined) fault(at('PolicyDocument'), noDocument);
  const policyName = readText(PolicyName ?? '', at('PolicyName'), reading);
  if (PolicyName === undefined && PolicyDocument === undefined) fault(at('PolicyName'), 'is missing');
  if (policyName.isFree) fault(at('PolicyName'), `the device would choose its rights: ${choose}`);
  return policyName;
}

const noDocument =
  'this gateway may not create policies, by its least privilege: create the policy in AWS IoT Core ("aws iot create-policy"), and name it as PolicyName';

/** A flat object of texts. */
function readTexts(value: unknown, path: string, reading: Reading): (values: Values) => Values {
  const texts = entriesOf(value, path, reading.fault).map(
    ([key, each]) => [key, readText(each, `${path}.${key}`, reading)] as const,
  );
  return (values) => Object.fromEntries(texts.map(([key, text]) => [key, text.valueFor(values)]));
}

const fieldsOf = (value: unknown): Fields | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;

/** Of an object that may be absent. */
function entriesOf(value: unknown, path: string, fault: Fault): [string, unknown][] {
  const fields = value === undefined ? {} : fieldsOf(value);
  if (fields === undefined) fault(path, 'must be an object');
  return Object.entries(fields ?? {});
}
