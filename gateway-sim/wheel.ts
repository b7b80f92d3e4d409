/** What waits on a wheel. It waits for one thing at a time. */
export type Waiting = {
  /** the slot it is in; the wheel's own */
  slot: number | undefined;
  due(now: number): void;
};

/**
 * One timer for all devices: a device that waits is in a slot of `slotMs` milliseconds, and is called at the slot's end, so at most that
 * much late. Ten thousand timers of Node.js would cost more than the devices do.
 */
export type Wheel<T extends Waiting> = {
  /** Replaces what the item waited for. @param at milliseconds, as `now` of `turn` */
  set(item: T, at: number): void;
  cancel(item: T): void;
  /** Calls the items that are due, in the order of their slots. */
  turn(now: number): void;
};

export function createWheel<T extends Waiting>(slotMs: number, now: number): Wheel<T> {
  const slots = new Map<number, Set<T>>();
  let turned = Math.floor(now / slotMs);

  function cancel(item: T): void {
    if (item.slot === undefined) return;
    const slot = slots.get(item.slot);
    slot?.delete(item);
    if (slot?.size === 0) slots.delete(item.slot);
    item.slot = undefined;
  }

  return {
    cancel,
    set(item, at) {
      cancel(item);
      const number = Math.max(turned + 1, Math.ceil(at / slotMs));
      const slot = slots.get(number) ?? new Set();
      slots.set(number, slot.add(item));
      item.slot = number;
    },
    turn(time) {
      for (const last = Math.floor(time / slotMs); turned < last; ) {
        const slot = slots.get(++turned);
        if (slot === undefined) continue;
        slots.delete(turned);
        for (const item of slot) item.slot = undefined;
        for (const item of slot) item.due(time);
      }
    },
  };
}
