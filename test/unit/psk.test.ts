import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { derivePsk } from '../../protocol/psk.ts';

const [serial, token] = ['SN-0001', 'kJ8vQ2mX4tZr7LwN0aYcBdEfGhI'];

it('the pre-shared key is HKDF-SHA256 as RFC 5869 spells it: extract with the serial, expand with the label', () => {
  const prk = createHmac('sha256', serial).update(token).digest();
  const okm = createHmac('sha256', prk)
    .update('cvm-gateway tls psk v1')
    .update(Buffer.from([1]))
    .digest();
  expect(derivePsk(serial, token)).toEqual(okm);
});

it('the test vector in docs/protocol.md is what the code computes', () => {
  const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
  expect(page).toContain(serial);
  expect(page).toContain(token);
  expect(page).toContain(derivePsk(serial, token).toString('hex'));
});
