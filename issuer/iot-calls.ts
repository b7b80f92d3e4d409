import {
  AddThingToThingGroupCommand,
  type AddThingToThingGroupCommandInput,
  AttachPolicyCommand,
  type AttachPolicyCommandInput,
  AttachThingPrincipalCommand,
  type AttachThingPrincipalCommandInput,
  CreateCertificateFromCsrCommand,
  CreateKeysAndCertificateCommand,
  CreatePolicyCommand,
  type CreatePolicyCommandInput,
  CreateRoleAliasCommand,
  CreateThingCommand,
  type CreateThingCommandInput,
  DeleteCertificateCommand,
  DeleteThingCommand,
  DescribeCertificateCommand,
  DescribeEndpointCommand,
  DescribeRoleAliasCommand,
  DescribeThingCommand,
  DetachPolicyCommand,
  type DetachPolicyCommandInput,
  DetachThingPrincipalCommand,
  type DetachThingPrincipalCommandInput,
  GetPolicyCommand,
  GetThingConnectivityDataCommand,
  type IoTClient,
  ListAttachedPoliciesCommand,
  type ListAttachedPoliciesCommandInput,
  ListCertificatesCommand,
  type ListCertificatesCommandInput,
  ListPrincipalThingsCommand,
  type ListPrincipalThingsCommandInput,
  ListThingPrincipalsCommand,
  type ListThingPrincipalsCommandInput,
  UpdateCertificateCommand,
  UpdateThingCommand,
  type UpdateThingCommandInput,
} from '@aws-sdk/client-iot';
import { type AwsClientOptions, connectIot } from '../aws/client.ts';
import type { AwsGate } from '../aws/gate.ts';

/** `creator` sends the calls that create certificates: they are not idempotent, so the SDK must not repeat them. */
export type IotClients = {
  readonly client: IoTClient;
  readonly creator: IoTClient;
  /** the region of both; rejects when none is set */
  region(): Promise<string>;
  close(): void;
};

export function connectIotClients(options: AwsClientOptions = {}): IotClients {
  const client = connectIot(options);
  const creator = connectIot({ ...options, maxAttempts: 1 });
  return {
    client,
    creator,
    region: () => client.config.region(),
    close() {
      client.destroy();
      creator.destroy();
    },
  };
}

/** An adapter asks for those that it makes: `Pick<IotCalls, 'getPolicy'>`. */
export type IotCalls = ReturnType<typeof openIot>;

/**
 * Every call of AWS IoT Core that the product makes. Each passes the gate.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/API_Operations_AWS_IoT.html
 */
export function openIot({ client, creator, region }: IotClients, gate: AwsGate) {
  return {
    region,

    createKeysAndCertificate: () =>
      gate.call('iot:CreateKeysAndCertificate', () =>
        creator.send(new CreateKeysAndCertificateCommand({ setAsActive: false })),
      ),
    createCertificateFromCsr: (certificateSigningRequest: string) =>
      gate.call('iot:CreateCertificateFromCsr', () =>
        creator.send(new CreateCertificateFromCsrCommand({ certificateSigningRequest, setAsActive: false })),
      ),

    describeCertificate: (certificateId: string) =>
      gate.call('iot:DescribeCertificate', () => client.send(new DescribeCertificateCommand({ certificateId }))),
    listCertificates: (input: ListCertificatesCommandInput) =>
      gate.call('iot:ListCertificates', () => client.send(new ListCertificatesCommand(input))),
    updateCertificate: (certificateId: string, newStatus: 'ACTIVE' | 'INACTIVE') =>
      gate.call('iot:UpdateCertificate', () => client.send(new UpdateCertificateCommand({ certificateId, newStatus }))),
    deleteCertificate: (certificateId: string) =>
      gate.call('iot:DeleteCertificate', () => client.send(new DeleteCertificateCommand({ certificateId }))),

    createThing: (input: CreateThingCommandInput) =>
      gate.call('iot:CreateThing', () => client.send(new CreateThingCommand(input))),
    describeThing: (thingName: string) =>
      gate.call('iot:DescribeThing', () => client.send(new DescribeThingCommand({ thingName }))),
    updateThing: (input: UpdateThingCommandInput) =>
      gate.call('iot:UpdateThing', () => client.send(new UpdateThingCommand(input))),
    deleteThing: (thingName: string) =>
      gate.call('iot:DeleteThing', () => client.send(new DeleteThingCommand({ thingName }))),
    addThingToThingGroup: (input: AddThingToThingGroupCommandInput) =>
      gate.call('iot:AddThingToThingGroup', () => client.send(new AddThingToThingGroupCommand(input))),
    attachThingPrincipal: (input: AttachThingPrincipalCommandInput) =>
      gate.call('iot:AttachThingPrincipal', () => client.send(new AttachThingPrincipalCommand(input))),
    detachThingPrincipal: (input: DetachThingPrincipalCommandInput) =>
      gate.call('iot:DetachThingPrincipal', () => client.send(new DetachThingPrincipalCommand(input))),
    listPrincipalThings: (input: ListPrincipalThingsCommandInput) =>
      gate.call('iot:ListPrincipalThings', () => client.send(new ListPrincipalThingsCommand(input))),
    listThingPrincipals: (input: ListThingPrincipalsCommandInput) =>
      gate.call('iot:ListThingPrincipals', () => client.send(new ListThingPrincipalsCommand(input))),

    getThingConnectivityData: (thingName: string) =>
      gate.call('iot:GetThingConnectivityData', () => client.send(new GetThingConnectivityDataCommand({ thingName }))),

    getPolicy: (policyName: string) =>
      gate.call('iot:GetPolicy', () => client.send(new GetPolicyCommand({ policyName }))),
    createPolicy: (input: CreatePolicyCommandInput) =>
      gate.call('iot:CreatePolicy', () => client.send(new CreatePolicyCommand(input))),
    attachPolicy: (input: AttachPolicyCommandInput) =>
      gate.call('iot:AttachPolicy', () => client.send(new AttachPolicyCommand(input))),
    detachPolicy: (input: DetachPolicyCommandInput) =>
      gate.call('iot:DetachPolicy', () => client.send(new DetachPolicyCommand(input))),
    listAttachedPolicies: (input: ListAttachedPoliciesCommandInput) =>
      gate.call('iot:ListAttachedPolicies', () => client.send(new ListAttachedPoliciesCommand(input))),

    describeRoleAlias: (roleAlias: string) =>
      gate.call('iot:DescribeRoleAlias', () => client.send(new DescribeRoleAliasCommand({ roleAlias }))),
    createRoleAlias: (roleAlias: string, roleArn: string) =>
      gate.call('iot:CreateRoleAlias', () => client.send(new CreateRoleAliasCommand({ roleAlias, roleArn }))),

    describeEndpoint: (endpointType: 'iot:Data-ATS' | 'iot:CredentialProvider' = 'iot:Data-ATS') =>
      gate.call('iot:DescribeEndpoint', () => client.send(new DescribeEndpointCommand({ endpointType }))),
  };
}
