import { CreatePolicyCommand, GetPolicyCommand, type IoTClient } from '@aws-sdk/client-iot';
import { partitionOf } from '../aws/iam-policy.ts';
import { unless } from './aws-errors.ts';

const thing = '${iot:Connection.Thing.ThingName}';

/** Every device's own corner: topics below its name, its shadows and its jobs. */
const topics = [`${thing}/*`, `$aws/things/${thing}/shadow/*`, `$aws/things/${thing}/jobs/*`];

/**
 * The one IoT policy that all devices share: policy variables make it say something else for each of them. It holds only
 * while the client id is the name of the thing that the certificate is attached to.
 *
 * Region and account stay open, which grants nothing more: a policy binds only connections to the region and account
 * that it is stored in, and the account cannot be learned before there is something in it. The partition cannot.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/thing-policy-variables.html
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/iot-action-resources.html
 */
export function devicePolicy(partition = 'aws'): string {
  const arn = (resource: string) => `arn:${partition}:iot:*:*:${resource}`;
  const resources = (kind: string) => topics.map((topic) => arn(`${kind}/${topic}`));
  return JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Action: 'iot:Connect',
        Resource: arn(`client/${thing}`),
        Condition: { Bool: { 'iot:Connection.Thing.IsAttached': 'true' } },
      },
      { Effect: 'Allow', Action: ['iot:Publish', 'iot:Receive'], Resource: resources('topic') },
      { Effect: 'Allow', Action: 'iot:Subscribe', Resource: resources('topicfilter') },
    ],
  });
}

/** The policy exists afterwards; one that is there already is left as it is, since an operator may have changed it. */
export async function ensurePolicy(client: IoTClient, policyName: string): Promise<'created' | 'exists'> {
  const found = await client.send(new GetPolicyCommand({ policyName })).catch(unless('ResourceNotFoundException'));
  if (found !== undefined) return 'exists';
  const policyDocument = devicePolicy(partitionOf(await client.config.region()));
  // who sets up at the same time may be the one who makes it
  const made = await client
    .send(new CreatePolicyCommand({ policyName, policyDocument }))
    .catch(unless('ResourceAlreadyExistsException'));
  return made === undefined ? 'exists' : 'created';
}
