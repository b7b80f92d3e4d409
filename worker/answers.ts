import type { Certificate } from '../issuer/issuer.ts';
import type { Credentials } from '../protocol/answer.ts';
import type { Problem } from '../protocol/problems.ts';
import { type Acknowledgement, type ProvisioningRequest, recipientIdOf } from '../queue/provisioning-request.ts';
import type { ReplyStore } from '../queue/replies.ts';
import type { Attempts } from '../registry/attempts.ts';
import type { Sealer } from '../sealing/replies.ts';

export type Rejected = { readonly outcome: 'rejected'; readonly problem: Problem };

/** Answers a request with a refusal. Like every answer, it is sealed to the token, so it shows nothing to other clients. */
export async function reject(
  request: ProvisioningRequest,
  problem: Problem,
  { replies, seal }: { readonly replies: Pick<ReplyStore, 'deliver'>; readonly seal: Pick<Sealer, 'answer'> },
): Promise<Rejected> {
  const recipientId = recipientIdOf(request.serial, request.tokenHash);
  const sealed = seal.answer(request.replyKey, recipientId, { status: 'rejected', problem });
  await replies.deliver({ requestId: request.requestId, recipientId, sealed });
  return { outcome: 'rejected', problem };
}

/** What a device gets with its certificate. */
export function credentialsOf(
  { certificateId, certificatePem, privateKeyPem }: Certificate,
  connection: Pick<Credentials, 'thingName' | 'endpoint' | 'rootCaPem'>,
): Credentials {
  return { certificateId, certificatePem, ...(privateKeyPem === undefined ? {} : { privateKeyPem }), ...connection };
}

/**
 * The device has stored its certificate: the token is spent for good, and the sealed reply is erased. An acknowledgement
 * of another certificate or token changes nothing.
 * @returns whether it took effect
 */
export async function acknowledge(
  { serial, tokenHash, certificateId }: Acknowledgement,
  deps: {
    readonly registry: Pick<Attempts, 'acknowledge'>;
    readonly replies: Pick<ReplyStore, 'erase'>;
    now(): number;
  },
): Promise<boolean> {
  const spent = await deps.registry.acknowledge(serial, tokenHash, certificateId, deps.now());
  if (spent) await deps.replies.erase(recipientIdOf(serial, tokenHash), certificateId);
  return spent;
}
