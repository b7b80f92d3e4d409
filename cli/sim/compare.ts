import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { type Comparable, compare, comparisonTable, readComparable, unlikeness } from '../../gateway-sim/compare.ts';
import { positiveNumber } from '../numbers.ts';
import { UsageError } from '../usage-error.ts';

export function compareCommand(write: (line: string) => void): Command {
  return new Command('compare')
    .description(
      'compare two reports of --json: exit status 0, 1 when the second is worse in any row, 2 when a file is no report',
    )
    .argument('<before.json>')
    .argument('<after.json>')
    .option('--tolerance <percent>', 'a row is worse when it is worse by more than this', positiveNumber, 10)
    .action(async (before: string, after: string, { tolerance }: { tolerance: number }) => {
      const [first, second] = [await read(before), await read(after)];
      const rows = compare(first, second, tolerance / 100);
      write(comparisonTable(rows));
      const unlike = unlikeness(first, second);
      if (unlike !== undefined)
        console.error(`cvm: the two runs are not alike, so a row may be worse or better by that alone: ${unlike}`);
      if (rows.some(({ worse }) => worse)) process.exitCode = 1;
    });
}

async function read(file: string): Promise<Comparable> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`${file} cannot be read (${error.code})`);
  });
  try {
    return readComparable(JSON.parse(text));
  } catch {
    throw new UsageError(`${file} is no report of the simulator: write one with cvm sim --json`);
  }
}
