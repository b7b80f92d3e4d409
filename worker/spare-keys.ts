import type { ProvisioningRequest } from '../queue/provisioning-request.ts';
import type { OwnKey } from '../registry/device.ts';

/** Keys that were made for devices whose claim did not take effect: the next request of the same device takes its key again. */
export type SpareKeys = {
  take(request: ProvisioningRequest, make: () => Promise<OwnKey>): Promise<OwnKey>;
  giveBack(request: ProvisioningRequest, key: OwnKey): void;
};

/** @param limit how many keys are kept at most; the oldest is dropped. Requests with wrong tokens must not fill the memory */
export function createSpareKeys(limit = 500): SpareKeys {
  const keys = new Map<string, OwnKey>();
  return {
    async take(request, make) {
      const name = nameOf(request);
      const key = keys.get(name);
      keys.delete(name);
      return key ?? make();
    },
    giveBack(request, key) {
      keys.set(nameOf(request), key);
      const oldest = keys.size > limit ? keys.keys().next().value : undefined;
      if (oldest !== undefined) keys.delete(oldest);
    },
  };
}

/** A key is only for the holder of this token: the name has the token's hash. */
const nameOf = ({ serial, tokenHash, replyKey }: ProvisioningRequest): string => `${serial} ${tokenHash} ${replyKey}`;
