import type { Certificate, Issuer, KeySource } from '../issuer/issuer.ts';
import type { ProvisioningRequest } from '../queue/provisioning-request.ts';
import type { Attempts } from '../registry/attempts.ts';
import type { Device, OwnKey } from '../registry/device.ts';
import type { Sealer } from '../sealing/replies.ts';
import type { EcKey } from './ec-key.ts';

/** One attempt at a certificate. `device` is the row as the claim left it. */
export type Attempt = {
  readonly request: ProvisioningRequest;
  readonly device: Device;
  /** the holder of the token: what is sealed to it, only the token opens */
  readonly recipientId: string;
};

/** The key that a certificate is to be for. */
export type DeviceKey = {
  readonly source: KeySource;
  /** hex SHA-256 of the public key (SPKI); absent where AWS makes the key */
  readonly keyDigest?: string;
  /** the private key, sealed to the device's token, where the gateway made it */
  readonly sealedKey?: string;
  /** a key that is new and must be noted in the row before it is used */
  readonly ownKey?: OwnKey;
};

export type DeviceKeyDeps = {
  /** a key pair for a device that leaves it to the gateway */
  makeKey(serial: string): Promise<EcKey>;
  readonly seal: Pick<Sealer, 'privateKey'>;
};

/** The key of the device's CSR, a key made at the gateway (that of an earlier attempt, if there is one), or one that AWS makes. */
export async function deviceKeyOf({ request, device, recipientId }: Attempt, deps: DeviceKeyDeps): Promise<DeviceKey> {
  if (request.csrPem !== undefined && request.keyDigest !== undefined)
    return { source: { csrPem: request.csrPem }, keyDigest: request.keyDigest };
  if (request.key === 'rsa') return { source: 'rsa' };
  const { ownKey: earlier } = device;
  if (earlier !== undefined) return { source: { csrPem: earlier.csrPem }, ...earlier };
  const { privateKeyPem, csrPem, keyDigest } = await deps.makeKey(request.serial);
  const sealedKey = deps.seal.privateKey(request.replyKey, recipientId, privateKeyPem);
  return { source: { csrPem }, keyDigest, sealedKey, ownKey: { csrPem, keyDigest, sealedKey } };
}

/** Ties the key of the CSR to this device: two devices with one key could act for each other. @returns false when it is another's */
export async function bindKeyOf({ request, device }: Attempt, registry: Pick<Attempts, 'bindKey'>): Promise<boolean> {
  const { serial, keyDigest } = request;
  if (keyDigest === undefined || keyDigest === device.keyDigest) return true;
  return registry.bindKey(serial, keyDigest);
}

/** `createdBy`: the attempt whose create call made it; absent when that is not certain. */
export type CreatedCertificate = { readonly certificate: Certificate; readonly createdBy?: number };

/** Looks for the certificate of an earlier create call whose answer was lost, by its public key. */
export async function findLostCertificate(
  device: Device,
  { keyDigest }: DeviceKey,
  issuer: Issuer,
): Promise<CreatedCertificate | undefined> {
  const intents = Object.entries(device.createIntents ?? {}).filter(([, intent]) => intent.keyDigest === keyDigest);
  if (keyDigest === undefined || intents.length === 0) return undefined;
  const since = Math.min(...intents.map(([, { at }]) => at));
  const certificate = await issuer.findInactive(keyDigest, since, device.pendingDeletion ?? []);
  if (certificate === undefined) return undefined;
  // with several calls for one key it is not known which one made it; the sweeper looks whether there is another
  const [[attempt] = ['']] = intents;
  return { certificate, ...(intents.length === 1 ? { createdBy: Number(attempt) } : {}) };
}
