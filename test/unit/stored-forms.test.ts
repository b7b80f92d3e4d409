import { describe, expect, it } from 'vitest';
import * as forms from '../../queue/stored-forms.ts';

/** Literal text, as version 0.1.0 wrote it: brokers and workers of two versions share one Redis during an upgrade. */
const storedRequest =
  '{"askId":"7c9e6679-7425-40de-944b-e07fc1f90ae7","serial":"SN-1","tokenHash":"sha256:ab","replyKey":"cHVibGlj","csrPem":"-----BEGIN CERTIFICATE REQUEST-----","key":"ec","keyDigest":"cd","receivedAt":1700000000000}';
const request = {
  requestId: '7c9e6679-7425-40de-944b-e07fc1f90ae7',
  serial: 'SN-1',
  tokenHash: 'sha256:ab',
  replyKey: 'cHVibGlj',
  csrPem: '-----BEGIN CERTIFICATE REQUEST-----',
  key: 'ec',
  keyDigest: 'cd',
  receivedAt: 1_700_000_000_000,
} as const;
const storedReply = '{"askId":"7c9e6679-7425-40de-944b-e07fc1f90ae7","box":"cmVjaXBpZW50","sealed":"c2VhbGVk"}';
const reply = { requestId: request.requestId, recipientId: 'cmVjaXBpZW50', sealed: 'c2VhbGVk' };

describe('the stored form', () => {
  it('of a request is the one that the previous version reads and writes', () => {
    expect(JSON.stringify(forms.toStoredRequest(request))).toBe(storedRequest);
    expect(forms.readStoredRequest(JSON.parse(storedRequest))).toEqual(request);
  });

  it('of a reply is the one that the previous version reads and writes', () => {
    expect(forms.toStoredReply(reply)).toBe(storedReply);
    expect(forms.readStoredReply(storedReply)).toEqual(reply);
  });

  it('of every key, channel and job name is the one that the previous version uses', () => {
    expect([forms.queueName, forms.requestJob, forms.acknowledgementJob]).toEqual(['asks', 'ask', 'ack']);
    expect(forms.repliesChannel).toBe('{cvm}:replies');
    expect(forms.replyKey('R')).toBe('{cvm}:answer:R');
    expect(forms.rosterKeys).toEqual({
      entries: '{cvm}:roster',
      gateways: '{cvm}:roster:brokers',
      position: '{cvm}:roster:position',
      leader: '{cvm}:roster:leader',
      channel: '{cvm}:roster:changed',
      requestedLookups: '{cvm}:roster:inquiries',
    });
    expect(forms.tokenAttemptsKey('serial')).toBe('{cvm}:guess:serial');
    expect(forms.attemptedTokenKey('R')).toBe('{cvm}:guess:seen:R');
  });
});
