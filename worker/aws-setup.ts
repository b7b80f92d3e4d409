import { CreatePolicyCommand, GetPolicyCommand, type IoTClient, ResourceNotFoundException } from '@aws-sdk/client-iot';

const thing = '${iot:Connection.Thing.ThingName}';

/** Every device's own corner: topics below its name, its shadows and its jobs. */
const topics = [`${thing}/*`, `$aws/things/${thing}/shadow/*`, `$aws/things/${thing}/jobs/*`];

/**
 * The one IoT policy that all devices share: policy variables make it say something else for each of them. It holds only
 * while the client id is the name of the thing that the certificate is attached to.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/thing-policy-variables.html
 */
export function devicePolicy(): string {
  const resources = (kind: string) => topics.map((topic) => `arn:aws:iot:*:*:${kind}/${topic}`);
  return JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Action: 'iot:Connect',
        Resource: `arn:aws:iot:*:*:client/${thing}`,
        Condition: { Bool: { 'iot:Connection.Thing.IsAttached': 'true' } },
      },
      { Effect: 'Allow', Action: ['iot:Publish', 'iot:Receive'], Resource: resources('topic') },
      { Effect: 'Allow', Action: 'iot:Subscribe', Resource: resources('topicfilter') },
    ],
  });
}

/** The policy exists afterwards; one that is there already is left as it is, since an operator may have changed it. */
export async function ensurePolicy(client: IoTClient, policyName: string): Promise<'created' | 'exists'> {
  try {
    await client.send(new GetPolicyCommand({ policyName }));
    return 'exists';
  } catch (error) {
    if (!(error instanceof ResourceNotFoundException)) throw error;
  }
  await client.send(new CreatePolicyCommand({ policyName, policyDocument: devicePolicy() }));
  return 'created';
}
