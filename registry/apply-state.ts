import type { DeviceState } from './device.ts';

/** The number that `applyState` has in the table, as in the reference design, and in what `cvm devices` prints as JSON. */
const numbers: Readonly<Record<DeviceState, number>> = { enrolled: 0, provisioning: 1, registered: -1, blocked: -2 };

export function applyStateOf(state: DeviceState): number {
  return numbers[state];
}

/** A row without the number, or with one that has no meaning, counts as `enrolled`; no conditional write matches it. */
export function stateOfApplyState(applyState: number): DeviceState {
  const found = Object.entries(numbers).find(([, number]) => number === applyState);
  return (found?.[0] ?? 'enrolled') as DeviceState;
}
