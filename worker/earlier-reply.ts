import type { Issuer } from '../issuer/issuer.ts';
import type { Credentials } from '../protocol/answer.ts';
import { type ProvisioningRequest, recipientIdOf } from '../queue/provisioning-request.ts';
import type { EarlierReplies } from '../queue/replies.ts';
import type { Device } from '../registry/device.ts';
import type { Sealer } from '../sealing/replies.ts';
import { credentialsOf } from './answers.ts';

export type EarlierReplyContext = {
  readonly issuer: Pick<Issuer, 'describeCertificate' | 'endpoint'>;
  readonly earlierReplies: Pick<EarlierReplies, 'kept'>;
  readonly seal: Sealer;
  readonly rootCaPem: string;
};

/**
 * The reply for a registered device whose row has none, since version 0.1.0 kept it in Redis. It is made anew of what the row and AWS say; a
 * private key that the device did not make comes from the reply of 0.1.0, which the worker cannot open: the broker does, and looks whether it is
 * the certificate's (`sealing/earlier-reply.ts`).
 * @returns the sealed reply; undefined where the certificate or its key is not to be had
 */
export async function earlierReply(
  { serial, tokenHash, replyKey, keyDigest }: ProvisioningRequest,
  { certificateId }: Device,
  { issuer, earlierReplies, seal, rootCaPem }: EarlierReplyContext,
): Promise<string | undefined> {
  if (certificateId === undefined) return undefined;
  const recipientId = recipientIdOf(serial, tokenHash);
  const kept = keyDigest === undefined ? await earlierReplies.kept(recipientId, certificateId) : undefined;
  if (keyDigest === undefined && kept === undefined) return undefined;
  const certificate = await issuer.describeCertificate(certificateId);
  if (certificate === undefined || (keyDigest !== undefined && certificate.keyDigest !== keyDigest)) return undefined;
  const { certificatePem } = certificate;
  const connection = { thingName: serial, endpoint: await issuer.endpoint(), rootCaPem };
  const credentials: Credentials = credentialsOf({ certificateId, certificatePem }, connection);
  return kept === undefined
    ? seal.answer(replyKey, recipientId, { status: 'accepted', credentials })
    : seal.withEarlierKey(replyKey, recipientId, { credentials, kept });
}
