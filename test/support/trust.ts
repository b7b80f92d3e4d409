import type { TableTrust } from '../../queue/replies.ts';
import { ownGateway } from '../../sealing/gateway.ts';
import { newKeyPair } from '../../sealing/hpke.ts';
import { type SigningKey, signingKeyFrom } from '../../sealing/signing.ts';

/** A gateway that was never heard of. */
export const newGateway = () => ownGateway(newKeyPair());

/** The trust of a gateway that has met the table with this key. @param unsigned gets what is reported as not signed */
export function trustOf({ publicKey }: SigningKey, unsigned: string[] = []): TableTrust {
  return {
    key: () => publicKey,
    meet: async () => publicKey,
    reportUnsigned: (what) => void unsigned.push(what),
  };
}

/** The signing key of a table. */
export const tableKey = (byte = 1) => signingKeyFrom(Buffer.alloc(32, byte));
