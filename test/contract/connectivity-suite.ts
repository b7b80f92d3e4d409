import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Connectivity } from '../../issuer/connectivity.ts';
import { ConnectivityUnavailable } from '../../issuer/connectivity.ts';
import { UpstreamThrottled } from '../../runtime/upstream.ts';

export type ConnectivityUnderTest = {
  readonly connectivity: Connectivity;
  /** makes a thing that never connected @returns its name */
  makeThing(): Promise<string>;
  /** connects the thing as its device would @returns what ends the connection */
  connect(thingName: string): Promise<() => Promise<void>>;
  /** how the next call ends */
  fault(kind: 'throttle' | 'no-index' | 'denied'): void | Promise<void>;
  close(): Promise<void>;
};

/** The promises of the port, for every adapter. */
export function connectivityContract(name: string, open: () => Promise<ConnectivityUnderTest>): void {
  describe(`connectivity contract: ${name}`, () => {
    let under: ConnectivityUnderTest;
    beforeAll(async () => {
      under = await open();
    });
    afterAll(() => under?.close());

    it('says "never" of a thing that has not connected, and of one that does not exist', async () => {
      expect(await under.connectivity.of(await under.makeThing())).toBe('never');
      expect(await under.connectivity.of('no-such-thing')).toBe('never');
    });

    it('says that a thing is connected, and since when; and afterwards, when it left', async () => {
      const thing = await under.makeThing();
      const before = Date.now();
      const leave = await under.connect(thing);
      const during = await under.connectivity.of(thing);
      expect(during).toMatchObject({ connected: true });
      expect((during as { at: number }).at).toBeGreaterThanOrEqual(before - 1000);
      await leave();
      await expect.poll(() => under.connectivity.of(thing)).toMatchObject({ connected: false });
      expect(((await under.connectivity.of(thing)) as { at: number }).at).toBeGreaterThanOrEqual(
        (during as { at: number }).at,
      );
    });

    it('throws UpstreamThrottled when it is throttled', async () => {
      const thing = await under.makeThing();
      await under.fault('throttle');
      await expect(under.connectivity.of(thing)).rejects.toThrow(UpstreamThrottled);
    });

    it.each(['no-index', 'denied'] as const)('throws ConnectivityUnavailable with a cure: %s', async (kind) => {
      const thing = await under.makeThing();
      await under.fault(kind);
      const error = await under.connectivity.of(thing).catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(ConnectivityUnavailable);
      expect((error as ConnectivityUnavailable).cure).not.toBe('');
    });
  });
}
