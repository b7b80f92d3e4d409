import { describe, expect, it } from 'vitest';
import { type ProvisioningRequest, recipientIdOf } from '../../queue/provisioning-request.ts';
import type { Device } from '../../registry/device.ts';
import { deriveReplyKeys, openAnswer, sealer } from '../../sealing/replies.ts';
import { earlierReply } from '../../worker/earlier-reply.ts';

const [serial, token, tokenHash] = ['SN-1', 'correct-horse-battery-staple', 'sha256:aa'];
const keys = deriveReplyKeys(serial, token);
const request: ProvisioningRequest = {
  ...{ requestId: 'r', serial, tokenHash, replyKey: keys.publicKey, key: 'ec', receivedAt: 0 },
};
const device = { serial, tokenHash, certificateId: 'c' } as Device;

function context(kept: string | undefined, keyDigest?: string) {
  const asked: string[] = [];
  const certificate = { certificateId: 'c', status: 'active', certificatePem: 'PEM', subject: {} } as const;
  return {
    asked,
    issuer: {
      endpoint: async () => 'endpoint.example',
      async describeCertificate(id: string) {
        asked.push(id);
        return keyDigest === undefined ? undefined : { ...certificate, keyDigest };
      },
    },
    earlierReplies: { kept: async () => kept },
    seal: sealer,
    rootCaPem: 'ROOT',
  };
}

describe('the reply of a device that got its certificate from version 0.1.0', () => {
  it('is made of what AWS has, for a device with a key of its own', async () => {
    const sealed = await earlierReply({ ...request, keyDigest: 'k' }, device, context(undefined, 'k'));
    expect(openAnswer(keys, recipientIdOf(serial, tokenHash), sealed ?? '')).toEqual({
      status: 'accepted',
      credentials: {
        ...{ certificateId: 'c', certificatePem: 'PEM' },
        ...{ thingName: serial, endpoint: 'endpoint.example', rootCaPem: 'ROOT' },
      },
    });
  });

  it('is none where the certificate is for another key than that of the device, or is gone', async () => {
    expect(await earlierReply({ ...request, keyDigest: 'k' }, device, context(undefined, 'other'))).toBeUndefined();
    expect(await earlierReply({ ...request, keyDigest: 'k' }, device, context(undefined))).toBeUndefined();
    expect(await earlierReply(request, device, context('kept'))).toBeUndefined();
  });

  it('is none, without a call to AWS, where Redis has no private key for it', async () => {
    const without = context(undefined, 'k');
    expect(await earlierReply(request, device, without)).toBeUndefined();
    expect(without.asked).toEqual([]);
  });

  it('never is a certificate without its key: a reply that does not open is told as lost', async () => {
    const sealed = await earlierReply(request, device, context('what is no reply', 'k'));
    expect(openAnswer(keys, recipientIdOf(serial, tokenHash), sealed ?? '')).toMatchObject({
      status: 'rejected',
      problem: { code: 'InternalFailure' },
    });
  });
});
