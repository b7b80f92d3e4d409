/** Which keys were refused to which devices lately, since they belong to others. A repeated request then costs a read, and no certificate. */
export type RefusedKeys = {
  note(serial: string, keyDigest: string): void;
  has(serial: string, keyDigest: string): boolean;
};

/** @param limit beyond it, the oldest is forgotten */
export function createRefusedKeys(limit = 1000): RefusedKeys {
  const refused = new Set<string>();
  const nameOf = (serial: string, keyDigest: string) => `${serial} ${keyDigest}`;
  return {
    note(serial, keyDigest) {
      refused.add(nameOf(serial, keyDigest));
      const oldest = refused.size > limit ? refused.values().next().value : undefined;
      if (oldest !== undefined) refused.delete(oldest);
    },
    has: (serial, keyDigest) => refused.has(nameOf(serial, keyDigest)),
  };
}
