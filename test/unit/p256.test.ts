import { execFileSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, sign, verify, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { newP256Key } from '../../runtime/p256.ts';

describe('a P-256 key pair', () => {
  it('is one: what the PEM signs, the public key verifies, and what WebCrypto signs as well', async () => {
    for (let round = 0; round < 300; round++) {
      const { privateKeyPem, keys } = await newP256Key();
      const spki = Buffer.from(await webcrypto.subtle.exportKey('spki', keys.publicKey));
      const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
      const text = Buffer.from(`round ${round}`);
      expect(verify('sha256', text, publicKey, sign('sha256', text, createPrivateKey(privateKeyPem)))).toBe(true);
      const algorithm = { name: 'ECDSA', hash: 'SHA-256' };
      const signature = await webcrypto.subtle.sign(algorithm, keys.privateKey, text);
      expect(await webcrypto.subtle.verify(algorithm, keys.publicKey, signature, text)).toBe(true);
    }
  });

  it('is made nowhere in the product by a job whose lock a process of Node 20 can wait for, for ever', () => {
    const files = execFileSync('git', ['ls-files', '*.ts', ':!test', ':!aws-local'], { encoding: 'utf8' })
      .trim()
      .split('\n');
    const suspicious = files.filter((file) =>
      /^import[^;]*\bgenerateKey|subtle\.generateKey/m.test(readFileSync(file, 'utf8')),
    );
    // whose job writes the PEM itself
    expect(suspicious).toEqual(['runtime/rsa.ts']);
  });
});
