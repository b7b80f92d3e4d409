import { expect, it } from 'vitest';
import { type LinkEvents, openLink, openTarget } from '../../gateway-sim/link.ts';

it('a connection that the system refuses at once is broken, with the reason, and the run goes on', async () => {
  const target = openTarget({ host: 'localhost', port: 1883, caPem: '' });
  // as when no file or no port is left, this fails within connect(): no socket may send to all
  target.known = [{ address: '255.255.255.255', family: 4 }];
  const broken = new Promise<Error | undefined>((resolve) => {
    const owner: LinkEvents = { secured() {}, received() {}, connected() {}, broken: resolve };
    openLink(target, 0, owner);
  });
  expect((await broken)?.message).toMatch(/^connect E/);
});
