import { expect, it } from 'vitest';
import { createMemoryIssuer } from '../fakes/memory-issuer.ts';
import { issuerContract } from './issuer-suite.ts';

issuerContract('memory', async () => {
  const fake = createMemoryIssuer();
  return { ...fake, fault: (kind) => fake.fault(kind) };
});

it('fails the one call that it is told to, and counts it', async () => {
  const { issuer, fault, calls } = createMemoryIssuer();
  fault('fail-before', 'CreateThing');
  await expect(issuer.ensureThing('T')).rejects.toThrow();
  await issuer.ensureThing('T');
  expect(calls('CreateThing')).toBe(2);
});
