import type { Certificate } from '../issuer/issuer.ts';
import type { Credentials } from '../protocol/answer.ts';
import type { Problem } from '../protocol/problems.ts';
import { type ProvisioningRequest, recipientIdOf } from '../queue/provisioning-request.ts';
import type { ReplyStore } from '../queue/replies.ts';
import type { RowFault } from '../registry/row-faults.ts';
import type { Sealer } from '../sealing/replies.ts';

/** `fault`: the device's row needs an operator first. */
export type Rejected = { readonly outcome: 'rejected'; readonly problem: Problem; readonly fault?: RowFault };

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
  { certificateId, certificatePem, privateKeyPem }: Omit<Certificate, 'certificateArn'>,
  connection: Pick<Credentials, 'thingName' | 'endpoint' | 'rootCaPem'>,
): Credentials {
  return { certificateId, certificatePem, ...(privateKeyPem === undefined ? {} : { privateKeyPem }), ...connection };
}
