import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { newRsaKey } from '../../runtime/rsa.ts';

it('an RSA key is made in a thread, while the event loop and the garbage collector run', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  let turns = 0;
  const collecting = setInterval(() => {
    turns++;
    collect();
  }, 1);
  const keys = await Promise.all(Array.from({ length: 8 }, newRsaKey));
  clearInterval(collecting);
  expect(turns).toBeGreaterThan(0);
  expect(new Set(keys).size).toBe(8);
  for (const pem of keys) {
    const key = createPrivateKey(pem);
    expect(key.asymmetricKeyDetails).toMatchObject({ modulusLength: 2048, publicExponent: 65537n });
    const signature = sign('sha256', Buffer.from('text'), key);
    expect(verify('sha256', Buffer.from('text'), createPublicKey(pem), signature)).toBe(true);
  }
});
