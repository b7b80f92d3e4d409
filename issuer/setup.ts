import { partitionOf } from '../aws/iam-policy.ts';
import { ignore, ignoreNotFound } from './expected-errors.ts';
import type { IotCalls } from './iot-calls.ts';

const thing = '${iot:Connection.Thing.ThingName}';

/** What one device may use: topics below its name, its shadows and its jobs. */
const topics = [`${thing}/*`, `$aws/things/${thing}/shadow/*`, `$aws/things/${thing}/jobs/*`];

/**
 * The IoT policy that all devices share. Its variables stand for the thing that the certificate is attached to, so each
 * device reaches only its own topics, and only with the thing's name as its client id.
 *
 * Region and account are wildcards. That grants nothing more, since a policy is valid only in the region and account that
 * it is stored in, and no call tells the account without further permissions. The partition cannot be a wildcard.
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

/** Whether there is a policy of this name. */
export const findPolicy = async (iot: Pick<IotCalls, 'getPolicy'>, policyName: string): Promise<boolean> =>
  (await iot.getPolicy(policyName).catch(ignoreNotFound)) !== undefined;

/** The policy exists afterwards. One that exists already is left as it is, since an operator may have changed it. */
export async function ensurePolicy(
  iot: Pick<IotCalls, 'region' | 'getPolicy' | 'createPolicy'>,
  policyName: string,
): Promise<'created' | 'exists'> {
  if (await findPolicy(iot, policyName)) return 'exists';
  const policyDocument = devicePolicy(partitionOf(await iot.region()));
  // another set-up that runs at the same time may make it first
  const made = await iot.createPolicy({ policyName, policyDocument }).catch(ignore('ResourceAlreadyExistsException'));
  return made === undefined ? 'exists' : 'created';
}
