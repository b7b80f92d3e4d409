/** Whether the large runs have their full size: `npm run test:full` sets it. `npm test` runs about a tenth of each. */
export const full = process.env.TEST_SIZE === 'full';

/** The size of a large run. @param short the size in `npm test`, a tenth of the full one unless given */
export function sized(fullSize: number, short = Math.ceil(fullSize / 10)): number {
  return full ? fullSize : short;
}

/** Rows of a table that start a process each: all of them in the full size, otherwise one of three. */
export function sampled<Row>(rows: readonly Row[]): readonly Row[] {
  return full ? rows : rows.filter((_row, index) => index % 3 === 0);
}
