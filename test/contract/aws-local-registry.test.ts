import {
  AddThingToThingGroupCommand,
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreatePolicyVersionCommand,
  CreateThingCommand,
  CreateThingGroupCommand,
  CreateThingTypeCommand,
  DeleteCertificateCommand,
  DeletePolicyCommand,
  DeletePolicyVersionCommand,
  DeleteThingCommand,
  DeprecateThingTypeCommand,
  DescribeCertificateCommand,
  DescribeThingCommand,
  DescribeThingTypeCommand,
  DetachPolicyCommand,
  GetPolicyCommand,
  GetPolicyVersionCommand,
  ListPrincipalThingsV2Command,
  ListThingPrincipalsV2Command,
  ListThingsCommand,
  ListThingsInThingGroupCommand,
  SetDefaultPolicyVersionCommand,
  UpdateCertificateCommand,
  UpdateThingCommand,
  type UpdateThingCommandInput,
} from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { devicePolicy, openStandIn, policyOf, refusedWith, type StandIn } from './aws-local-fixture.ts';

const invalid = 'InvalidRequestException';

describe('the AWS stand-in, as AWS does,', () => {
  let standIn: StandIn;
  let send: ReturnType<StandIn['iot']>['send'];
  beforeAll(async () => {
    standIn = await openStandIn();
    const iot = standIn.iot();
    send = iot.send.bind(iot);
    await standIn.create('device', devicePolicy);
  });
  afterAll(() => standIn.close());

  const create = (thingName: string, attributes: Record<string, string> = {}, thingTypeName?: string) =>
    send(new CreateThingCommand({ thingName, thingTypeName, attributePayload: { attributes } }));
  const describeThing = (thingName: string) => send(new DescribeThingCommand({ thingName }));
  const update = (thingName: string, change: Omit<UpdateThingCommandInput, 'thingName'>) =>
    send(new UpdateThingCommand({ thingName, ...change }));

  describe('counts the versions of a thing', () => {
    it('and updates or deletes it only in the version that the caller expects', async () => {
      await create('versioned');
      await update('versioned', { expectedVersion: 1, attributePayload: { attributes: { a: '1' } } });
      expect(await describeThing('versioned')).toMatchObject({ version: 2, attributes: { a: '1' } });
      const conflict = { name: 'VersionConflictException', $metadata: { httpStatusCode: 409 } };
      await expect(update('versioned', { expectedVersion: 1 })).rejects.toMatchObject(conflict);
      const remove = (expectedVersion?: number) =>
        send(new DeleteThingCommand({ thingName: 'versioned', expectedVersion }));
      await expect(remove(1)).rejects.toMatchObject(conflict);
      await remove(2);
      await refusedWith(describeThing('versioned'), 'ResourceNotFoundException');
      // a thing that is gone is no error
      await remove(2);
      await refusedWith(update('versioned', {}), 'ResourceNotFoundException');
    });
  });

  describe('updates attributes', () => {
    it('by replacing them, or by merging where that is asked: an empty value removes one', async () => {
      await create('merged', { a: '1', b: '2' });
      await update('merged', { attributePayload: { attributes: { c: '3' }, merge: true } });
      expect((await describeThing('merged')).attributes).toEqual({ a: '1', b: '2', c: '3' });
      await update('merged', { attributePayload: { attributes: { a: '' }, merge: true } });
      expect((await describeThing('merged')).attributes).toEqual({ b: '2', c: '3' });
      await update('merged', { attributePayload: { attributes: { d: '4' } } });
      expect((await describeThing('merged')).attributes).toEqual({ d: '4' });
      await refusedWith(
        send(new CreateThingCommand({ thingName: 'fresh', attributePayload: { attributes: { a: '1' }, merge: true } })),
        invalid,
      );
    });

    it('up to three without a type, after merging, and up to 50 with one', async () => {
      await create('few', { a: '1', b: '2', c: '3' });
      await refusedWith(update('few', { attributePayload: { attributes: { d: '4' }, merge: true } }), invalid);
      await send(new CreateThingTypeCommand({ thingTypeName: 'roomy' }));
      const many = (count: number) =>
        Object.fromEntries(Array.from({ length: count }, (_, index) => [`a${index}`, 'x']));
      await create('many', many(50), 'roomy');
      await refusedWith(create('more', many(51), 'roomy'), invalid);
    });
  });

  it('gives no thing a type that is deprecated, unknown, or set and removed at once', async () => {
    const thingTypeName = 'old';
    const properties = (thingTypeDescription: string) =>
      send(new CreateThingTypeCommand({ thingTypeName, thingTypeProperties: { thingTypeDescription } }));
    await properties('d');
    await properties('d');
    await refusedWith(properties('other'), 'ResourceAlreadyExistsException');
    await create('typed', {}, thingTypeName);
    await send(new DeprecateThingTypeCommand({ thingTypeName }));
    expect((await send(new DescribeThingTypeCommand({ thingTypeName }))).thingTypeMetadata?.deprecated).toBe(true);
    await refusedWith(create('late', {}, thingTypeName), invalid);
    await refusedWith(create('none', {}, 'unknown'), 'ResourceNotFoundException');
    await refusedWith(update('typed', { thingTypeName: 'roomy', removeThingType: true }), invalid);
    await update('typed', { removeThingType: true });
    expect((await describeThing('typed')).thingTypeName).toBeUndefined();
    await send(new DeprecateThingTypeCommand({ thingTypeName, undoDeprecate: true }));
    await create('again', {}, thingTypeName);
  });

  it('creates a thing again only with the same type and attributes', async () => {
    const { thingId } = await create('twice', { a: '1' }, 'roomy');
    expect((await create('twice', { a: '1' }, 'roomy')).thingId).toBe(thingId);
    await refusedWith(create('twice', { a: '2' }, 'roomy'), 'ResourceAlreadyExistsException');
    await refusedWith(create('twice', { a: '1' }), 'ResourceAlreadyExistsException');
  });

  it('lists things by type and by attribute', async () => {
    await create('red', { colour: 'red' });
    await create('reddish', { colour: 'reddish' });
    const names = async (filter: object) =>
      (await send(new ListThingsCommand(filter))).things?.map(({ thingName }) => thingName);
    expect(await names({ attributeName: 'colour', attributeValue: 'red' })).toEqual(['red']);
    expect(await names({ attributeName: 'colour', attributeValue: 'red', usePrefixAttributeValue: true })).toEqual([
      'red',
      'reddish',
    ]);
    expect(await names({ thingTypeName: 'old' })).toEqual(['again']);
  });

  it('keeps a thing that is attached, and lists of which kind an attachment is', async () => {
    const { thingName, arn } = await standIn.vended();
    await refusedWith(send(new DeleteThingCommand({ thingName })), invalid);
    expect((await send(new ListThingPrincipalsV2Command({ thingName }))).thingPrincipalObjects).toEqual([
      { principal: arn, thingPrincipalType: 'EXCLUSIVE_THING' },
    ]);
    expect((await send(new ListPrincipalThingsV2Command({ principal: arn }))).principalThingObjects).toEqual([
      { thingName, thingPrincipalType: 'EXCLUSIVE_THING' },
    ]);
    await create('shared');
    await refusedWith(send(new AttachThingPrincipalCommand({ thingName: 'shared', principal: arn })), invalid);
  });

  it('adds a thing to at most ten groups, by names or ARNs, and to none that is not there', async () => {
    await create('member');
    const add = (thingGroupName: string) =>
      send(new AddThingToThingGroupCommand({ thingName: 'member', thingGroupName }));
    await refusedWith(add('none'), 'ResourceNotFoundException');
    for (let number = 0; number < 11; number++)
      await send(new CreateThingGroupCommand({ thingGroupName: `group-${number}` }));
    const arn = (resource: string) => `arn:aws:iot:us-east-1:000000000000:${resource}`;
    const byArns = { thingArn: arn('thing/member'), thingGroupArn: arn('thinggroup/group-0') };
    await send(new AddThingToThingGroupCommand(byArns));
    expect((await send(new ListThingsInThingGroupCommand({ thingGroupName: 'group-0' }))).things).toEqual(['member']);
    for (let number = 0; number < 10; number++) await add(`group-${number}`);
    await refusedWith(add('group-10'), invalid);
  });

  it('lets a caller set the statuses that are not its own, and repeats a change without error', async () => {
    const { id: certificateId } = await standIn.fromCsr();
    const set = (
      newStatus: 'ACTIVE' | 'INACTIVE' | 'REVOKED' | 'PENDING_TRANSFER' | 'PENDING_ACTIVATION' | 'REGISTER_INACTIVE',
    ) => send(new UpdateCertificateCommand({ certificateId, newStatus }));
    const status = async () =>
      (await send(new DescribeCertificateCommand({ certificateId }))).certificateDescription?.status;
    for (const allowed of ['ACTIVE', 'ACTIVE', 'INACTIVE', 'REVOKED', 'REVOKED'] as const) {
      await set(allowed);
      expect(await status()).toBe(allowed);
    }
    for (const own of ['PENDING_TRANSFER', 'PENDING_ACTIVATION', 'REGISTER_INACTIVE'] as const)
      await refusedWith(set(own), invalid);
    await refusedWith(
      send(new UpdateCertificateCommand({ certificateId: 'b'.repeat(64), newStatus: 'ACTIVE' })),
      'ResourceNotFoundException',
    );
  });

  it('deletes a certificate with policies only by force, and never one that has a thing', async () => {
    const { id: certificateId } = await standIn.vended();
    await send(new UpdateCertificateCommand({ certificateId, newStatus: 'INACTIVE' }));
    const remove = (forceDelete: boolean) => send(new DeleteCertificateCommand({ certificateId, forceDelete }));
    await refusedWith(remove(true), 'DeleteConflictException');
    const bare = await standIn.fromCsr();
    await send(new AttachPolicyCommand({ policyName: 'device', target: bare.arn }));
    const removeBare = (forceDelete: boolean) =>
      send(new DeleteCertificateCommand({ certificateId: bare.id, forceDelete }));
    await refusedWith(removeBare(false), 'DeleteConflictException');
    await removeBare(true);
    await refusedWith(removeBare(true), 'ResourceNotFoundException');
  });

  it('attaches at most ten policies to a target', async () => {
    const { arn: target } = await standIn.fromCsr();
    const attach = (policyName: string) => send(new AttachPolicyCommand({ policyName, target }));
    for (let number = 0; number < 11; number++) await standIn.create(`ten-${number}`, devicePolicy);
    for (let number = 0; number < 10; number++) await attach(`ten-${number}`);
    await expect(attach('ten-10')).rejects.toMatchObject({
      name: 'LimitExceededException',
      $metadata: { httpStatusCode: 410 },
    });
    await attach('ten-0');
    await send(new DetachPolicyCommand({ policyName: 'ten-0', target }));
    await attach('ten-10');
  });

  it('keeps at most five versions of a policy, one of them the default', async () => {
    const policyName = 'versions';
    await standIn.create(policyName, devicePolicy);
    const add = (setAsDefault: boolean) =>
      send(new CreatePolicyVersionCommand({ policyName, policyDocument: devicePolicy, setAsDefault }));
    expect(await add(false)).toMatchObject({ policyVersionId: '2', isDefaultVersion: false });
    for (let number = 0; number < 3; number++) await add(false);
    await refusedWith(add(true), 'VersionsLimitExceededException');
    await send(new SetDefaultPolicyVersionCommand({ policyName, policyVersionId: '3' }));
    expect((await send(new GetPolicyCommand({ policyName }))).defaultVersionId).toBe('3');
    expect(await send(new GetPolicyVersionCommand({ policyName, policyVersionId: '1' }))).toMatchObject({
      isDefaultVersion: false,
    });
    const remove = (policyVersionId: string) => send(new DeletePolicyVersionCommand({ policyName, policyVersionId }));
    await refusedWith(remove('3'), 'DeleteConflictException');
    await refusedWith(remove('9'), 'ResourceNotFoundException');
    await refusedWith(send(new DeletePolicyCommand({ policyName })), 'DeleteConflictException');
    for (const version of ['1', '2', '4', '5']) await remove(version);
    await send(new DeletePolicyCommand({ policyName }));
  });
});

describe('the AWS stand-in takes a policy document', () => {
  let standIn: StandIn;
  let number = 0;
  beforeAll(async () => {
    standIn = await openStandIn();
  });
  afterAll(() => standIn.close());
  const create = (document: string) => standIn.create(`policy-${++number}`, document);
  const good = { Effect: 'Allow', Action: 'iot:Connect', Resource: '*' };
  const withStatement = (change: object) =>
    JSON.stringify({ Version: '2012-10-17', Statement: [{ ...good, ...change }] });

  it.each([
    ['with one statement that is no list', JSON.stringify({ Version: '2012-10-17', Statement: good })],
    [
      'with an id and a statement id',
      JSON.stringify({ Version: '2012-10-17', Id: 'x', Statement: [{ ...good, Sid: 'y' }] }),
    ],
    ['with actions of another service', withStatement({ Action: ['greengrass:*', 'iot:*'] })],
    [
      'of 2048 characters and white space',
      `${withStatement({ Sid: 'x'.repeat(2048 - withStatement({ Sid: '' }).length) })}\n\n`,
    ],
  ])('%s', async (_what, document) => {
    await create(document);
  });

  it.each([
    ['that is empty', ''],
    ['that is no JSON', '{'],
    ['that is a list', '[]'],
    ['without a version', JSON.stringify({ Statement: [good] })],
    ['of an unknown version', JSON.stringify({ Version: '2015-01-01', Statement: [good] })],
    ['without statements', JSON.stringify({ Version: '2012-10-17', Statement: [] })],
    ['with an unknown effect', withStatement({ Effect: 'allow' })],
    ['without an action', withStatement({ Action: [] })],
    ['with an action of no service', withStatement({ Action: 'Connect' })],
    ['without a resource', withStatement({ Resource: undefined })],
    ['with a resource that is no ARN', withStatement({ Resource: 'client/x' })],
    ['with a misspelt member', withStatement({ Resources: '*' })],
    [
      'with a condition that the stand-in could not judge',
      withStatement({ Condition: { IpAddress: { 'aws:SourceIp': '::1' } } }),
    ],
    ['of 2049 characters', withStatement({ Sid: 'x'.repeat(2049 - withStatement({ Sid: '' }).length) })],
  ])('but none %s', async (_what, document) => {
    await refusedWith(create(document), 'MalformedPolicyException');
  });

  it('and checks that of a new version, too', async () => {
    await standIn.create('first', policyOf({ Action: 'iot:Connect', Resource: '*' }));
    const call = standIn.iot().send(new CreatePolicyVersionCommand({ policyName: 'first', policyDocument: '{}' }));
    await refusedWith(call, 'MalformedPolicyException');
  });
});
