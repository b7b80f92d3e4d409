/**
 * Default calls a second of an account. Operations that are not named have no limit here.
 * @see https://docs.aws.amazon.com/general/latest/gr/iot-core.html
 */
const defaultRates: Readonly<Record<string, number>> = {
  AddThingToThingGroup: 100,
  AttachPolicy: 15,
  AttachThingPrincipal: 100,
  CreateCertificateFromCsr: 15,
  CreateKeysAndCertificate: 10,
  CreatePolicy: 10,
  CreatePolicyVersion: 10,
  CreateThing: 100,
  DeleteCertificate: 10,
  DeleteThing: 100,
  DescribeCertificate: 10,
  DescribeThing: 350,
  DetachPolicy: 15,
  DetachThingPrincipal: 100,
  ListAttachedPolicies: 15,
  ListCertificates: 10,
  ListPrincipalThings: 10,
  ListThingPrincipals: 10,
  RegisterThing: 10,
  UpdateCertificate: 10,
  UpdateThing: 100,
};

export type Quotas = 'default' | 'off' | Readonly<Record<string, number>>;

/** A token bucket for each operation, one second deep. `take` returns false where AWS would throttle. */
export function createQuotas(quotas: Quotas, now: () => number = () => performance.now()) {
  const rates = quotas === 'off' ? {} : quotas === 'default' ? defaultRates : { ...defaultRates, ...quotas };
  const buckets = new Map<string, { level: number; at: number }>();
  return {
    take(operation: string): boolean {
      const rate = rates[operation];
      if (rate === undefined) return true;
      const bucket = buckets.get(operation) ?? { level: rate, at: now() };
      const level = Math.min(rate, bucket.level + ((now() - bucket.at) / 1000) * rate);
      buckets.set(operation, { level: level >= 1 ? level - 1 : level, at: now() });
      return level >= 1;
    },
  };
}
