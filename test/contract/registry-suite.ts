import { afterAll, beforeAll, describe } from 'vitest';
import type { Registry } from '../../registry/registry.ts';
import { attemptsContract } from './attempts-suite.ts';
import { decisionsContract } from './decisions-suite.ts';
import { keptReplyContract } from './kept-reply-suite.ts';
import { createRegistryFixture } from './registry-fixture.ts';
import { removalContract } from './removal-suite.ts';
import { siteContract } from './site-suite.ts';
import { takeoverContract } from './takeover-suite.ts';

/** The promises of the port, for every adapter. */
export function registryContract(
  name: string,
  open: () => Promise<{ registry: Registry; close(): Promise<void> }>,
): void {
  describe(`registry contract: ${name}`, () => {
    let opened: Awaited<ReturnType<typeof open>>;
    beforeAll(async () => {
      opened = await open();
    });
    afterAll(() => opened.close());

    const fixture = createRegistryFixture(() => opened.registry);
    attemptsContract(fixture);
    keptReplyContract(fixture);
    decisionsContract(fixture);
    removalContract(fixture);
    takeoverContract(fixture);
    siteContract(fixture);
  });
}
