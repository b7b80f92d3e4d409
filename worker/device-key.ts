import type { Certificate, Issuer, KeySource } from '../issuer/issuer.ts';
import { type ProvisioningRequest, recipientIdOf } from '../queue/provisioning-request.ts';
import type { ClaimRequest } from '../registry/attempts.ts';
import { createIntentsOf } from '../registry/create-intents.ts';
import type { CreateIntent, Device, OwnKey } from '../registry/device.ts';
import type { Sealer } from '../sealing/replies.ts';
import type { EcKey } from './ec-key.ts';
import type { SpareKeys } from './spare-keys.ts';

/** One attempt at a certificate. `device` is the row as the claim left it. */
export type Attempt = {
  readonly request: ProvisioningRequest;
  readonly device: Device;
  /** the holder of the token: only the token opens what is sealed to it */
  readonly recipientId: string;
  /** the create intents of this attempt: its claim wrote the first one */
  readonly intents: CreateIntent[];
};

/** The key that a certificate is to be for. */
export type DeviceKey = {
  readonly source: KeySource;
  /** hex SHA-256 of the public key (SPKI); absent where AWS makes the key */
  readonly keyDigest?: string;
  /** the private key, sealed to the device's token, where the gateway made it */
  readonly sealedKey?: string;
};

export type DeviceKeyDeps = {
  /** a key pair for a device that leaves it to the gateway */
  makeKey(serial: string): Promise<EcKey>;
  readonly seal: Pick<Sealer, 'privateKey'>;
  readonly spareKeys: SpareKeys;
};

/** The part of the create intent that a claim writes into the row. */
type Intended = NonNullable<ClaimRequest['intends']>;

/** The key that a request asks for: that of its CSR, one that AWS makes, or one that is made here before the claim, which seals it into the row. */
export async function intendedFor(request: ProvisioningRequest, deps: DeviceKeyDeps): Promise<Intended> {
  if (request.keyDigest !== undefined) return { keyDigest: request.keyDigest };
  if (request.key === 'rsa') return {};
  const ownKey = await deps.spareKeys.take(request, () => makeOwnKey(request, deps));
  return { keyDigest: ownKey.keyDigest, ownKey };
}

async function makeOwnKey({ serial, tokenHash, replyKey }: ProvisioningRequest, deps: DeviceKeyDeps): Promise<OwnKey> {
  const { privateKeyPem, csrPem, keyDigest } = await deps.makeKey(serial);
  const sealedKey = deps.seal.privateKey(replyKey, recipientIdOf(serial, tokenHash), privateKeyPem);
  return { csrPem, keyDigest, sealedKey };
}

/** The key of the device's CSR, one that AWS makes, or the gateway's: the claim left it in the row, or found an earlier one there. */
export function deviceKeyOf({ request, device }: Attempt): DeviceKey {
  if (request.csrPem !== undefined && request.keyDigest !== undefined)
    return { source: { csrPem: request.csrPem }, keyDigest: request.keyDigest };
  if (request.key === 'rsa') return { source: 'rsa' };
  if (device.ownKey === undefined) throw new Error('the claim left no key in the row');
  const { csrPem, keyDigest, sealedKey } = device.ownKey;
  return { source: { csrPem }, keyDigest, sealedKey };
}

export type CreatedCertificate = {
  readonly certificate: Certificate;
  /** the create intents whose outcome is known by it */
  readonly settled: readonly CreateIntent[];
  /** an earlier create call made it */
  readonly isFound: boolean;
};

/** Looks for the certificate of an earlier create call whose answer was lost, by its public key. */
export async function findLostCertificate(
  { device, intents: own }: Attempt,
  { keyDigest }: DeviceKey,
  issuer: Issuer,
): Promise<CreatedCertificate | undefined> {
  const intents = createIntentsOf(device).filter(
    (intent) => intent.keyDigest === keyDigest && intent.id !== device.claimId,
  );
  if (keyDigest === undefined || intents.length === 0) return undefined;
  const since = Math.min(...intents.map(({ at }) => at));
  const certificate = await issuer.findInactive(keyDigest, since, device.pendingDeletion ?? []);
  if (certificate === undefined) return undefined;
  // this attempt makes no call. With several earlier ones for one key it is not known which one made it; the sweeper looks for another
  return { certificate, settled: intents.length === 1 ? [...own, ...intents] : own, isFound: true };
}
