import { createPrivateKey, createPublicKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { deriveKeyPair, open, seal } from '../../sealing/hpke.ts';

/** RFC 9180, appendix A.1.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode, sequence number 0 */
const vector = {
  info: '4f6465206f6e2061204772656369616e2055726e',
  ikmE: '7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234',
  pkEm: '37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431',
  ikmR: '6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037',
  pkRm: '3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d',
  skRm: '4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8',
  pt: '4265617574792069732074727574682c20747275746820626561757479',
  aad: '436f756e742d30',
  ct: 'f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a',
};
const bytes = (hex: string) => Buffer.from(hex, 'hex');

describe('HPKE, RFC 9180 appendix A.1.1', () => {
  const recipient = deriveKeyPair(bytes(vector.ikmR));
  const ephemeral = deriveKeyPair(bytes(vector.ikmE));

  it("derives the standard's key pairs", () => {
    expect(recipient.publicKey.toString('hex')).toBe(vector.pkRm);
    expect(ephemeral.publicKey.toString('hex')).toBe(vector.pkEm);
    expect(
      createPublicKey(createPrivateKey(recipient.privateKey.export({ format: 'pem', type: 'pkcs8' }))).export({
        format: 'jwk',
      }).x,
    ).toBe(bytes(vector.pkRm).toString('base64url'));
    expect(Buffer.from(recipient.privateKey.export({ format: 'jwk' }).d ?? '', 'base64url').toString('hex')).toBe(
      vector.skRm,
    );
  });

  it("seals to the standard's ciphertext", () => {
    const sealed = seal(recipient.publicKey, bytes(vector.info), bytes(vector.aad), bytes(vector.pt), ephemeral);
    expect(sealed.toString('hex')).toBe(vector.pkEm + vector.ct);
  });

  it("opens the standard's ciphertext", () => {
    expect(open(recipient, bytes(vector.info), bytes(vector.aad), bytes(vector.pkEm + vector.ct)).toString('hex')).toBe(
      vector.pt,
    );
  });

  it.each([
    ['another info', (c: Case) => ({ ...c, info: bytes('00') })],
    ['another aad', (c: Case) => ({ ...c, aad: bytes('00') })],
    ['a changed byte', (c: Case) => ({ ...c, sealed: flip(c.sealed, 40) })],
    ['a changed encapsulated key', (c: Case) => ({ ...c, sealed: flip(c.sealed, 3) })],
    ['a cut message', (c: Case) => ({ ...c, sealed: c.sealed.subarray(0, 40) })],
  ])('does not open with %s', (_name, change) => {
    const c = change({ info: bytes(vector.info), aad: bytes(vector.aad), sealed: bytes(vector.pkEm + vector.ct) });
    expect(() => open(recipient, c.info, c.aad, c.sealed)).toThrow();
  });
});

type Case = { info: Buffer; aad: Buffer; sealed: Buffer };

function flip(buffer: Buffer, index: number): Buffer {
  const changed = Buffer.from(buffer);
  changed[index] = (changed[index] ?? 0) ^ 1;
  return changed;
}
