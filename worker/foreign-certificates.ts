import type { CertificateSummary } from '../issuer/issuer.ts';

/**
 * ACTIVE certificates that belong to no device of ours. An account may have many, and it takes two calls to find out about one, so
 * a worker remembers them, and looks at a bounded number of others in each sweep.
 */
export type ForeignCertificates = {
  /** Those of these that this sweep is to look at. When all were looked at, it begins anew: one of them may have become ours. */
  choose(certificates: readonly CertificateSummary[]): readonly CertificateSummary[];
  add(certificateId: string): void;
};

export function createForeignCertificates(atATime: number): ForeignCertificates {
  const known = new Set<string>();
  return {
    choose(certificates) {
      const unknown = certificates.filter(({ certificateId }) => !known.has(certificateId));
      if (unknown.length > 0) return unknown.slice(0, atATime);
      known.clear();
      return certificates.slice(0, atATime);
    },
    add: (certificateId) => void known.add(certificateId),
  };
}
