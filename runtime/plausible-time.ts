/** A clock that shows an earlier time is wrong: this version was made later. A test asks for a new date with each version. */
export const earliest = { version: '0.1.0', time: Date.UTC(2026, 0, 1) } as const;

/** Whether a clock that shows this time may be right. Epoch milliseconds. */
export const isPlausible = (time: number): boolean => time >= earliest.time;
