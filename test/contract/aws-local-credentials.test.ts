import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateRoleAliasCommand,
  DeleteRoleAliasCommand,
  DescribeRoleAliasCommand,
  UpdateCertificateCommand,
} from '@aws-sdk/client-iot';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fetchCredentials, type RoleAlias } from '../../aws/role-alias.ts';
import { type Credentials, openStandIn, policyOf, refusedWith, type StandIn } from './aws-local-fixture.ts';

const roleArn = 'arn:aws:iam::000000000000:role/cvm-worker';
const assume = (alias: string) =>
  policyOf({ Action: 'iot:AssumeRoleWithCertificate', Resource: `arn:aws:iot:*:*:rolealias/${alias}` });

describe("the AWS stand-in's credentials provider", () => {
  let standIn: StandIn;
  let folder: string;
  let source: RoleAlias;
  beforeAll(async () => {
    standIn = await openStandIn();
    await standIn.create('assume', assume('workers'));
    await standIn.create('assume-other', assume('others'));
    await standIn.create('assume-absent', assume('absent'));
    await standIn
      .iot()
      .send(new CreateRoleAliasCommand({ roleAlias: 'workers', roleArn, credentialDurationSeconds: 900 }));
    folder = mkdtempSync(join(tmpdir(), 'cvm-identity-'));
  });
  afterAll(async () => {
    await standIn.close();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => {
    rmSync(join(folder, 'gateway.json'), { force: true });
    source = {
      name: 'workers',
      certFile: join(folder, 'gateway.crt'),
      keyFile: join(folder, 'gateway.key'),
      endpoint: `localhost:${standIn.aws().mqttPort}`,
      rootCaFile: standIn.aws().rootCaFile,
    };
  });

  function write({ pem, privateKeyPem }: Credentials, thingName?: string): void {
    writeFileSync(source.certFile, pem);
    writeFileSync(source.keyFile, privateKeyPem);
    const identity = { thingName, certificateId: 'c', roleAlias: 'workers', endpoint: source.endpoint };
    if (thingName !== undefined) writeFileSync(join(folder, 'gateway.json'), JSON.stringify(identity));
  }

  it('gives credentials of the length of the alias to an ACTIVE certificate whose policy allows it, with and without its thing', async () => {
    const gateway = await standIn.vended({ policyName: 'assume' });
    for (const thingName of [undefined, gateway.thingName]) {
      write(gateway, thingName);
      const before = Date.now();
      const { expiration, ...keys } = await fetchCredentials(source);
      expect(keys).toEqual({
        accessKeyId: expect.stringMatching(/^ASIA\w{16}$/),
        secretAccessKey: expect.any(String),
        sessionToken: expect.any(String),
      });
      expect(expiration.getTime() - before).toBeGreaterThan(890_000);
      expect(expiration.getTime() - before).toBeLessThan(960_000);
    }
  });

  it('takes the address of the provider from what lies beside the certificate', async () => {
    const gateway = await standIn.vended({ policyName: 'assume' });
    write(gateway, gateway.thingName);
    await expect(fetchCredentials({ ...source, endpoint: undefined })).resolves.toHaveProperty('accessKeyId');
  });

  it.each([
    [
      'a thing that it is not attached to',
      { policyName: 'assume', thing: 'another' },
      /invalid thing name/i,
      /attach the certificate to the thing another/,
    ],
    [
      'a policy for another alias',
      { policyName: 'assume-other' },
      /access denied/i,
      /must allow iot:AssumeRoleWithCertificate on the role alias "workers"/,
    ],
    [
      'an alias that is not there',
      { policyName: 'assume-absent', alias: 'absent' },
      /does not exist/i,
      /correct CVM_ROLE_ALIAS/,
    ],
    [
      'a certificate that is not ACTIVE',
      { policyName: 'assume', inactive: true },
      /certificate is invalid/i,
      /not registered and ACTIVE/,
    ],
  ])('refuses %s, and the error says what to do', async (_what, { policyName, ...more }, said, cure) => {
    const {
      thing,
      alias = 'workers',
      inactive = false,
    } = more as { thing?: string; alias?: string; inactive?: boolean };
    const gateway = await standIn.vended({ policyName });
    write(gateway, thing);
    if (inactive)
      await standIn.iot().send(new UpdateCertificateCommand({ certificateId: gateway.id, newStatus: 'INACTIVE' }));
    await expect(fetchCredentials({ ...source, name: alias })).rejects.toMatchObject({
      name: 'CredentialsProviderError',
      message: expect.stringMatching(said),
      cure: expect.stringMatching(cure),
      lasts: true,
    });
  });

  it('keeps role aliases: one of a name, described, deleted', async () => {
    const iot = standIn.iot();
    await refusedWith(
      iot.send(new CreateRoleAliasCommand({ roleAlias: 'workers', roleArn })),
      'ResourceAlreadyExistsException',
    );
    await refusedWith(
      iot.send(new CreateRoleAliasCommand({ roleAlias: 'bad', roleArn: 'arn:aws:iam::1:user/somebody' })),
      'InvalidRequestException',
    );
    const { roleAliasDescription } = await iot.send(new DescribeRoleAliasCommand({ roleAlias: 'workers' }));
    expect(roleAliasDescription).toMatchObject({ roleArn, credentialDurationSeconds: 900 });
    await iot.send(new CreateRoleAliasCommand({ roleAlias: 'brief', roleArn }));
    await iot.send(new DeleteRoleAliasCommand({ roleAlias: 'brief' }));
    await refusedWith(iot.send(new DescribeRoleAliasCommand({ roleAlias: 'brief' })), 'ResourceNotFoundException');
  });

  it('does not trust a provider whose certificate is of an unknown CA, and says so', async () => {
    write(await standIn.vended({ policyName: 'assume' }));
    const { rootCaFile: _none, ...untrusting } = source;
    await expect(fetchCredentials(untrusting)).rejects.toMatchObject({
      lasts: true,
      cure: expect.stringMatching(/inspects TLS/),
    });
  });

  it('says what is wrong with the files of the certificate', async () => {
    const [one, other] = [
      await standIn.vended({ policyName: 'assume' }),
      await standIn.vended({ policyName: 'assume' }),
    ];
    await expect(fetchCredentials({ ...source, certFile: join(folder, 'none') })).rejects.toMatchObject({
      lasts: true,
      cure: expect.stringMatching(/cvm aws setup --gateway/),
    });
    write({ ...one, privateKeyPem: other.privateKeyPem });
    await expect(fetchCredentials(source)).rejects.toMatchObject({
      lasts: true,
      cure: expect.stringMatching(/belong together/),
    });
  });

  it('takes a provider that cannot be reached for a matter of the network, which passes', async () => {
    write(await standIn.vended({ policyName: 'assume' }));
    await expect(fetchCredentials({ ...source, endpoint: 'localhost:1' })).rejects.toMatchObject({
      lasts: false,
      cure: expect.stringMatching(/network, DNS and proxy/),
    });
  });
});
