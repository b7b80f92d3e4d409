import type { DeviceState } from './device.ts';

type KnownState = Exclude<DeviceState, 'unknown'>;

/** The number that `applyState` has in the table, as in the reference design, and in what `cvm devices` prints as JSON. */
const numbers: Readonly<Record<KnownState, number>> = { enrolled: 0, provisioning: 1, registered: -1, blocked: -2 };

/** Undefined for a state that no number stands for. */
export function applyStateOf(state: DeviceState): number | undefined {
  return state === 'unknown' ? undefined : numbers[state];
}

export function stateOfApplyState(applyState: number): DeviceState {
  const found = Object.entries(numbers).find(([, number]) => number === applyState);
  return (found?.[0] ?? 'unknown') as DeviceState;
}
