/** A measured figure, and whether it reaches its goal. */
export type Figure = {
  readonly name: string;
  readonly value: number | string;
  readonly unit?: string;
  readonly goal: string;
  readonly holds: boolean;
};

/** Prints figures on standard output; the exit status tells whether all of them hold. */
export function printFigures(figures: readonly Figure[], json: boolean): void {
  if (json) console.log(JSON.stringify(figures));
  else
    for (const { name, value, unit = '', goal, holds } of figures)
      console.log(`${holds ? 'holds' : 'FAILS'}  ${name.padEnd(60)} ${`${value} ${unit}`.trim()} (goal: ${goal})`);
  if (figures.some(({ holds }) => !holds)) process.exitCode = 1;
}
