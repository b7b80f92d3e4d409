import type { DeviceState } from './device.ts';

/** The number that `applyState` has in the table, as in the reference design, and in what `cvm devices` prints as JSON. */
const numbers: Readonly<Record<DeviceState, number>> = { enrolled: 0, provisioning: 1, registered: -1, blocked: -2 };

export function applyStateOf(state: DeviceState): number {
  return numbers[state];
}

/** A number without a meaning is read as `enrolled`, but no conditional write matches it. A row without the number is enrolled. */
export function stateOfApplyState(applyState: number): DeviceState {
  const found = Object.entries(numbers).find(([, number]) => number === applyState);
  return (found?.[0] ?? 'enrolled') as DeviceState;
}
