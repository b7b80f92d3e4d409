import { GetServiceQuotaCommand, type ServiceQuotasClient } from '@aws-sdk/client-service-quotas';
import type { AwsGate } from '../aws/gate.ts';
import { type AwsQuotas, quotaCodes } from '../runtime/aws-quotas.ts';
import { ignore } from './expected-errors.ts';

/**
 * Asks Service Quotas how many calls a second of AWS IoT Core the account may make in its region, of those operations that bound how many
 * devices are vended.
 * @returns by operation; one is missing where the account has no number of its own: then AWS's default holds
 * @see https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
 */
export async function readAccountQuotas(client: ServiceQuotasClient, gate: AwsGate): Promise<AwsQuotas> {
  const found: Record<string, number> = {};
  // one after the other: Service Quotas allows few calls a second, and a person waits for no more than six
  for (const [operation, QuotaCode] of Object.entries(quotaCodes)) {
    const command = new GetServiceQuotaCommand({ ServiceCode: 'iotcore', QuotaCode });
    const answer = await gate
      .call('servicequotas:GetServiceQuota', () => client.send(command))
      .catch(ignore('NoSuchResourceException'));
    const perSecond = answer?.Quota?.Value;
    if (perSecond !== undefined) found[operation] = perSecond;
  }
  return found;
}
