import { quotaCodes } from '../runtime/aws-quotas.ts';
import { ApiError } from './errors.ts';
import type { createQuotas } from './quotas.ts';

/**
 * Service Quotas says of this account what `quotas` holds it to.
 * @param target of the call: `ServiceQuotasV20190624.GetServiceQuota`
 * @see https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
 */
export function getServiceQuota(
  { rates }: Pick<ReturnType<typeof createQuotas>, 'rates'>,
  target: string,
  { ServiceCode, QuotaCode }: Readonly<Record<string, unknown>>,
): unknown {
  if (!target.endsWith('.GetServiceQuota'))
    throw new ApiError('UnknownOperationException', `There is no operation ${target} here`, 404);
  const operation = Object.keys(quotaCodes).find((each) => quotaCodes[each] === QuotaCode);
  const Value = operation === undefined || ServiceCode !== 'iotcore' ? undefined : rates[operation];
  if (Value === undefined)
    throw new ApiError(
      'NoSuchResourceException',
      'The request failed because the specified service quota is not there.',
    );
  const QuotaName = `${operation} API TPS`;
  return { Quota: { ServiceCode, ServiceName: 'AWS IoT Core', QuotaCode, QuotaName, Value, Unit: 'None' } };
}
