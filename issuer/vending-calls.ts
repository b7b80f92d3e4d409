import type { AwsOperation } from '../aws/iam-policy.ts';

/** Where the key of a certificate comes from: AWS IoT Core, the gateway, or the device's CSR. */
export type KeyOrigin = 'rsa' | 'ec' | 'csr';

/**
 * The operations of AWS IoT Core that one vend makes, each once: what it takes from the account's quotas. An attempt that carries on
 * with what an earlier one made, or that deletes an earlier certificate, makes other calls.
 * @param group whether the thing joins a group
 */
export function vendingCalls(key: KeyOrigin, { group }: { readonly group: boolean }): readonly AwsOperation[] {
  return [
    key === 'rsa' ? 'iot:CreateKeysAndCertificate' : 'iot:CreateCertificateFromCsr',
    'iot:CreateThing',
    'iot:AttachPolicy',
    'iot:AttachThingPrincipal',
    ...(group ? (['iot:AddThingToThingGroup'] as const) : []),
    'iot:UpdateCertificate',
  ];
}
