import type { Behaviour } from './behaviour.ts';
import { usualBehaviour } from './behaviour.ts';
import type { Credential, Stored } from './device.ts';
import { makeDeviceKey } from './device-key.ts';
import type { Gateway } from './link.ts';
import type { Outcome } from './outcome.ts';
import { simulate } from './simulate.ts';

export type DeviceOptions = {
  /** for all its attempts together, in milliseconds */
  readonly timeoutMs: number;
  /** for the answer on one connection, in milliseconds */
  readonly patienceMs?: number;
  /** between two attempts, at most, in milliseconds */
  readonly maxPauseMs?: number;
  /** before it acknowledges, as firmware writes to flash before it does */
  readonly store?: (stored: Stored) => void;
};

/** One device by itself, from its first request to its end. */
export async function runDevice(
  gateway: Gateway,
  credential: Credential,
  flow: Behaviour['flow'],
  options: DeviceOptions,
): Promise<Outcome> {
  const own = flow === 'csr' ? { key: await makeDeviceKey(credential.serial) } : {};
  const device = { ...credential, ...own, behaviour: { ...usualBehaviour, flow }, startMs: 0 };
  const seed = Math.floor(Math.random() * 2 ** 31);
  const { outcomes } = await simulate({ gateway, devices: [device], concurrency: 1, seed, ...options });
  return outcomes[0] as Outcome;
}
