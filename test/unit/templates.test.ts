import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { templatesCommand } from '../../cli/templates.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { faultsOf, readTemplateFolder, templatesOf } from '../../templates/load.ts';
import { readTemplate } from '../../templates/template.ts';

const certificateId = 'ab'.repeat(32);
const certificate = {
  Type: 'AWS::IoT::Certificate',
  Properties: { CertificateId: { Ref: 'AWS::IoT::Certificate::Id' }, Status: 'Active' },
};
const thing = (properties: object = {}, more: object = {}) => ({
  Type: 'AWS::IoT::Thing',
  Properties: { ThingName: { Ref: 'SerialNumber' }, ...properties },
  ...more,
});
const policy = (properties: object) => ({ Type: 'AWS::IoT::Policy', Properties: properties });
const parameters = { SerialNumber: { Type: 'String' }, Place: { Type: 'String', Default: 'WA' } };

/** The whole template, with what a test changes. */
const body = (changed: object = {}, resources: object = {}) => ({
  Parameters: parameters,
  Resources: { thing: thing(), certificate, ...resources },
  ...changed,
});

const read = (template: object, name = 'unit') => readTemplate(name, JSON.stringify(template));
function faults(template: object): readonly string[] {
  const outcome = read(template);
  return 'faults' in outcome ? outcome.faults : [];
}
function register(template: object, values: Record<string, string> = { SerialNumber: 'SN' }) {
  const outcome = read(template);
  if ('faults' in outcome) throw new Error(outcome.faults.join('\n'));
  return outcome.template.register(values, certificateId);
}
/** What an expression gives, as an entry of the device configuration. */
const configured = (expression: unknown, values?: Record<string, string>, more: object = {}) => {
  const outcome = register(body({ DeviceConfiguration: { value: expression }, ...more }), values);
  return 'refusal' in outcome ? outcome.refusal : outcome.registration.deviceConfiguration.value;
};

describe('a provisioning template', () => {
  it('never sees the registration token: a reference to it is a fault, and its value goes nowhere', () => {
    const declared = { ...parameters, RegistrationToken: { Type: 'String' } };
    const secret = { SerialNumber: 'SN', RegistrationToken: 'SECRET' };
    expect(faults(body({ Parameters: declared }))).toEqual([]);
    expect(JSON.stringify(register(body({ Parameters: declared }), secret))).not.toContain('SECRET');
    for (const expression of [{ Ref: 'RegistrationToken' }, { 'Fn::Sub': 'x-${RegistrationToken}' }])
      expect(faults(body({ Parameters: declared }, { thing: thing({ AttributePayload: { a: expression } }) }))).toEqual(
        [expect.stringContaining('RegistrationToken is the secret of the device')],
      );
    const withDefault = { ...parameters, RegistrationToken: { Type: 'String', Default: 'x' } };
    expect(faults(body({ Parameters: withDefault }))).toEqual([expect.stringContaining('has no default')]);
  });

  it('gives what it says of a device: name, attributes, type, groups, policies, configuration', () => {
    const template = body(
      { DeviceConfiguration: { place: { Ref: 'Place' }, id: { Ref: 'AWS::IoT::Certificate::Id' } } },
      {
        thing: thing(
          {
            AttributePayload: { version: 'v1', serial: { Ref: 'SerialNumber' } },
            ThingTypeName: { 'Fn::Join': ['-', ['bulb', { Ref: 'Place' }]] },
            ThingGroups: ['bulbs', 'all'],
          },
          { OverrideSettings: { AttributePayload: 'MERGE', ThingTypeName: 'REPLACE', ThingGroups: 'DO_NOTHING' } },
        ),
        first: policy({ PolicyName: 'read' }),
        second: policy({ PolicyName: 'write' }),
      },
    );
    expect(register(template)).toEqual({
      registration: {
        thingName: 'SN',
        attributes: { version: 'v1', serial: 'SN' },
        thingTypeName: 'bulb-WA',
        thingGroupNames: ['bulbs', 'all'],
        policyNames: ['read', 'write'],
        overrides: { attributes: 'MERGE', thingTypeName: 'REPLACE' },
        deviceConfiguration: { place: 'WA', id: certificateId },
      },
    });
  });

  it('needs a thing and a certificate only, and leaves alone what a thing has already unless it says otherwise', () => {
    expect(register(body())).toEqual({
      registration: {
        thingName: 'SN',
        attributes: {},
        thingGroupNames: [],
        policyNames: [],
        overrides: { attributes: 'DO_NOTHING', thingTypeName: 'DO_NOTHING' },
        deviceConfiguration: {},
      },
    });
  });

  it('that docs/fleet-provisioning.md shows has no fault', () => {
    const page = readFileSync('docs/fleet-provisioning.md', 'utf8');
    const [, shown = ''] = /```json\n([\s\S]*?)```/.exec(page) ?? [];
    expect(register(JSON.parse(shown))).toMatchObject({
      registration: {
        thingName: 'SN',
        thingGroupNames: ['plant-north'],
        deviceConfiguration: { url: 'https://north.example' },
      },
    });
  });

  it('takes a parameter of the device before its default, and ignores those that it does not declare', () => {
    expect(configured({ Ref: 'Place' }, { SerialNumber: 'SN', Place: 'OR', Other: 'x' })).toBe('OR');
    expect(configured({ Ref: 'Place' })).toBe('WA');
  });

  it('does not let the device say which certificate it has', () => {
    const declared = { Parameters: { ...parameters, 'AWS::IoT::Certificate::Id': { Type: 'String' } } };
    const lie = { SerialNumber: 'SN', 'AWS::IoT::Certificate::Id': 'another' };
    expect(configured({ Ref: 'AWS::IoT::Certificate::Id' }, lie, declared)).toBe(certificateId);
  });

  it('refuses a device that leaves out a parameter without a default, and quotes nothing that it sent', () => {
    expect(register(body(), { Place: 'secret' })).toEqual({ refusal: 'the parameter "SerialNumber" is missing' });
    expect(register(body(), { SerialNumber: 'SN', __proto__: 'x' } as never)).toHaveProperty('registration');
  });
});

describe('an intrinsic function', () => {
  const mappings = { Mappings: { Places: { WA: { url: 'https://wa' }, OR: { url: 'https://or' } } } };

  it.each([
    ['joins', { 'Fn::Join': ['', ['Unit_', { Ref: 'SerialNumber' }]] }, 'Unit_SN'],
    ['joins a list that was split', { 'Fn::Join': ['+', { 'Fn::Split': ['-', 'a-b-c'] }] }, 'a+b+c'],
    ['selects by a number', { 'Fn::Select': [1, ['a', { Ref: 'SerialNumber' }]] }, 'SN'],
    ['selects by a text', { 'Fn::Select': ['0', ['a', 'b']] }, 'a'],
    ['selects from a split text', { 'Fn::Select': [1, { 'Fn::Split': ['N', { Ref: 'SerialNumber' }] }] }, ''],
    ['finds in a map', { 'Fn::FindInMap': ['Places', { Ref: 'Place' }, 'url'] }, 'https://wa'],
    ['substitutes parameters', { 'Fn::Sub': 'u-${SerialNumber}-${Place}-${!Place}' }, 'u-SN-WA-${Place}'],
    ['substitutes names of its own', { 'Fn::Sub': ['${a}/${Place}', { a: { Ref: 'SerialNumber' } }] }, 'SN/WA'],
  ])('%s', (_what, expression, value) => expect(configured(expression, undefined, mappings)).toBe(value));

  it('refuses a device whose parameter leads nowhere', () => {
    const elsewhere = { SerialNumber: 'SN', Place: 'constructor' };
    expect(configured({ 'Fn::FindInMap': ['Places', { Ref: 'Place' }, 'url'] }, elsewhere, mappings)).toBe(
      'the map "Places" of the template has nothing for a parameter',
    );
    expect(configured({ 'Fn::Select': [3, { 'Fn::Split': [',', { Ref: 'Place' }] }] })).toBe(
      'a list that a parameter makes has no part number 3',
    );
  });

  it.each([
    [{ Ref: 'Serial' }, 'DeviceConfiguration.x.Ref: there is no parameter "Serial": declare it in Parameters'],
    [{ 'Fn::Jon': [] }, 'DeviceConfiguration.x: "Fn::Jon" is no function of provisioning templates'],
    [{ 'Fn::Join': ['-'] }, 'DeviceConfiguration.x.Fn::Join: needs a delimiter and a list'],
    [{ 'Fn::Join': ['-', 'a'] }, 'DeviceConfiguration.x.Fn::Join[1]: is no list'],
    [{ 'Fn::Select': [2, ['a', 'b']] }, 'DeviceConfiguration.x.Fn::Select[0]: is 2, and the list ends at 1'],
    [{ 'Fn::Select': [-1, ['a']] }, 'DeviceConfiguration.x.Fn::Select: needs an index from 0'],
    [{ 'Fn::Split': [',', 'a'] }, 'DeviceConfiguration.x: gives a list, and a text is needed here'],
    [{ 'Fn::FindInMap': ['No', 'a', 'b'] }, 'DeviceConfiguration.x.Fn::FindInMap[0]: there is no map "No"'],
    [{ 'Fn::Sub': 'a ${b}' }, 'DeviceConfiguration.x.Fn::Sub: there is no parameter "b"'],
    [{ a: 'b', c: 'd' }, 'DeviceConfiguration.x: is neither a text nor a function'],
    [7, 'DeviceConfiguration.x: is neither a text nor a function'],
  ])('that is wrong is named with its place: %j', (expression, fault) => {
    expect(faults(body({ DeviceConfiguration: { x: expression } }))).toEqual([expect.stringContaining(fault)]);
  });
});

describe('a template that cannot be carried out', () => {
  it('is told all its faults at once, each with its place', () => {
    const found = faults({
      Parameters: { SerialNumber: { Type: 'Number' } },
      Mappings: { M: { a: { b: 1 } } },
      Resources: { thing: thing({ BillingGroup: 'b' }), policy: policy({}) },
      Outputs: {},
    });
    const places = found.map((fault) => fault.replace(/:? .*/, ''));
    expect(places).toEqual([
      'Outputs',
      'Parameters.SerialNumber.Type',
      'Mappings.M.a.b',
      'Resources.thing.Properties.BillingGroup',
      'Resources',
      'Resources.policy.Properties.PolicyName',
    ]);
  });

  it.each([
    ['a thing name that is the same for all', { thing: thing({ ThingName: 'gateway' }) }, 'is made of no parameter'],
    [
      'a thing name of its certificate alone',
      { thing: thing({ ThingName: { Ref: 'AWS::IoT::Certificate::Id' } }) },
      'is made of no parameter',
    ],
    ['a policy that the device chooses', { p: policy({ PolicyName: { Ref: 'Place' } }) }, 'would choose its rights'],
    [
      'groups that the device chooses',
      { thing: thing({ ThingGroups: [{ 'Fn::Sub': 'g-${Place}' }] }) },
      'Fn::FindInMap',
    ],
    ['a policy document', { p: policy({ PolicyDocument: '{}' }) }, 'create the policy in AWS IoT Core'],
    [
      'another certificate',
      { certificate: { ...certificate, Properties: { CertificateId: 'f'.repeat(64) } } },
      'the certificate that was vended',
    ],
    [
      'a certificate of a CSR',
      { certificate: { ...certificate, Properties: { ...certificate.Properties, CertificateSigningRequest: 'x' } } },
      'names the certificate by CertificateId',
    ],
    [
      'a certificate that does not work',
      { certificate: { ...certificate, Properties: { ...certificate.Properties, Status: 'INACTIVE' } } },
      'must be "ACTIVE"',
    ],
    [
      'groups that are taken away',
      { thing: thing({}, { OverrideSettings: { ThingGroups: 'REPLACE' } }) },
      'takes no thing out of a group',
    ],
    ['another type of resource', { table: { Type: 'AWS::DynamoDB::Table' } }, 'must be one of AWS::IoT::Thing'],
  ])('%s', (_what, resources, reason) => {
    expect(faults(body({}, resources))).toEqual([expect.stringContaining(reason)]);
  });

  it('lets the device choose its groups from those that the template lists', () => {
    const groups = [{ 'Fn::FindInMap': ['Places', { Ref: 'Place' }, 'group'] }];
    const template = body(
      { Mappings: { Places: { WA: { group: 'west' } } } },
      { thing: thing({ ThingGroups: groups }) },
    );
    expect(register(template)).toMatchObject({ registration: { thingGroupNames: ['west'] } });
  });

  it('is told what stands in the place of a pre-provisioning hook', () => {
    expect(faults(body({ PreProvisioningHook: {} }))).toEqual([expect.stringContaining('registration token')]);
  });

  it('is told that the description of a template is not its body', () => {
    expect(faults({ templateName: 'x', templateBody: '{}' })).toEqual([
      expect.stringContaining('--query templateBody'),
    ]);
  });

  it('is told a name, a size or a text that AWS would not take', () => {
    const outcome = [
      readTemplate('a b', '{'),
      readTemplate('x', '[]'),
      read(body({ DeviceConfiguration: { x: 'x'.repeat(11_000) } })),
    ];
    expect(outcome.map((each) => ('faults' in each ? each.faults : []))).toEqual([
      [expect.stringContaining('"a b" is no name'), expect.stringContaining('it is not JSON')],
      ['it is no JSON object'],
      [expect.stringContaining('AWS takes at most 10240')],
    ]);
  });

  it('ends with faults or with a template, whatever JSON it is', () => {
    const name = fc.constantFrom(
      'Ref',
      'Fn::Join',
      'Fn::Select',
      'Fn::Sub',
      'Fn::Split',
      'Fn::FindInMap',
      'SerialNumber',
    );
    const { any } = fc.letrec((tie) => ({
      any: fc.oneof(
        name,
        fc.string(),
        fc.integer(),
        fc.array(tie('any'), { maxLength: 4 }),
        fc.dictionary(name, tie('any'), { maxKeys: 2 }),
      ),
    }));
    fc.assert(
      fc.property(any, any, (expression, section) => {
        const outcome = read(body({ DeviceConfiguration: { x: expression }, Mappings: section }));
        if ('template' in outcome) outcome.template.register({ SerialNumber: 'SN' }, certificateId);
      }),
    );
  });
});

describe('a folder of templates', () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
    vi.restoreAllMocks();
    process.exitCode = undefined;
  });
  const folderOf = (files: Record<string, string>) => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-templates-'));
    folders.push(folder);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    return folder;
  };
  const good = JSON.stringify(body());

  it('names each template by its file, and reads nothing but *.json', () => {
    const files = readTemplateFolder(folderOf({ 'bulb.json': good, 'notes.txt': '', 'pump.json': good }));
    expect([...templatesOf(files).keys()]).toEqual(['bulb', 'pump']);
    expect(readTemplateFolder(join(tmpdir(), 'cvm-there-is-none'))).toEqual([]);
  });

  it('says the faults of all of them, each with its file', () => {
    const folder = folderOf({ 'a.json': '{', 'b.json': good, 'c d.json': good });
    expect(faultsOf(readTemplateFolder(folder))).toEqual([
      expect.stringMatching(/a\.json: it is not JSON/),
      expect.stringMatching(/c d\.json: "c d" is no name/),
    ]);
  });

  const run = async (folder: string, ...argv: string[]) => {
    const [lines, errors]: [string[], string[]] = [[], []];
    vi.spyOn(console, 'error').mockImplementation((text) => void errors.push(text));
    const settings = async () => loadSettings({ CVM_TEMPLATES_DIR: folder });
    await templatesCommand({ settings, write: (line) => void lines.push(line) }).parseAsync(argv, { from: 'user' });
    return { lines, errors, status: process.exitCode };
  };

  it('is checked by cvm templates check, which fails where one has a fault', async () => {
    const folder = folderOf({ 'a.json': good, 'b.json': '{}' });
    expect(await run(folder, 'check', join(folder, 'a.json'))).toEqual({
      lines: ['1 template without a fault'],
      errors: [],
      status: undefined,
    });
    const { errors, status } = await run(folder, 'check');
    expect([errors.length > 0 && errors.every((text) => text.includes('b.json')), status]).toEqual([true, 1]);
  });

  it('is listed by cvm templates list', async () => {
    const folder = folderOf({ 'a.json': good, 'b.json': '{}' });
    const { lines } = await run(folder, 'list');
    expect(lines).toEqual([
      expect.stringMatching(/^a +ready$/),
      expect.stringMatching(/^b +2 faults: cvm templates check /),
    ]);
    expect(JSON.parse((await run(folder, 'list', '--json')).lines[0] ?? '')).toMatchObject([
      { name: 'a', faults: [] },
      { name: 'b' },
    ]);
    expect((await run(join(folder, 'none'), 'list')).lines).toEqual([expect.stringContaining('no template in ')]);
  });
});

describe('a strange template', () => {
  it.each(['constructor', 'toString', 'valueOf', '__proto__', 'hasOwnProperty'])(
    'has a fault where it names %s, which every object has, as a function, section or property',
    (name) => {
      const strange = (inner: string) => JSON.parse(`{"${name}": ${inner}}`) as object;
      const faulty = body({ ...strange('{}') }, { thing: thing({ AttributePayload: { a: strange('["a", []]') } }) });
      expect(faults(faulty)).toEqual(
        expect.arrayContaining([
          expect.stringContaining(`${name}: is no section`),
          expect.stringContaining(`"${name}" is no function`),
        ]),
      );
      for (const fault of faults(faulty)) expect(fault).not.toContain('native code');
      const property = Object.fromEntries([[name, 'x']]);
      for (const fault of faults(body({}, { thing: thing(property) }))) expect(fault).not.toContain('native code');
    },
  );

  it('has a fault where an object stands for an index or a status, whatever keys it has', () => {
    const strange = JSON.parse('{"toString": 1}') as object;
    const attributes = { a: { 'Fn::Select': [strange, ['x']] } };
    const properties = { ...certificate.Properties, Status: strange };
    const faulty = body(
      {},
      { thing: thing({ AttributePayload: attributes }), certificate: { ...certificate, Properties: properties } },
    );
    expect(faults(faulty)).toEqual([
      expect.stringContaining('needs an index from 0'),
      expect.stringContaining('must be "ACTIVE"'),
    ]);
  });

  it('that repeats itself gives no text beyond what a device can send, and is soon done', () => {
    const nested = (depth: number): object =>
      depth === 0 ? { Ref: 'SerialNumber' } : { 'Fn::Sub': ['${a}${a}', { a: nested(depth - 1) }] };
    const model = (depth: number) => body({}, { thing: thing({ AttributePayload: { model: nested(depth) } }) });
    expect(register(model(2))).toMatchObject({ registration: { attributes: { model: 'SNSNSNSN' } } });
    expect(register(model(100))).toEqual({ refusal: expect.stringContaining('more than 8192 characters') });
    // nothing, twice and twice again, is nothing
    expect(register(model(100), { SerialNumber: '' })).toMatchObject({ registration: { attributes: { model: '' } } });
  });
});
