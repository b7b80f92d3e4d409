import { InvalidArgumentError } from 'commander';

const unitMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** An option's `90s`, `30m`, `12h` or `30d`, in milliseconds. @throws InvalidArgumentError */
export function durationMs(text: string): number {
  const match = /^(\d+)([smhd])$/.exec(text);
  const unit = unitMs[match?.[2] ?? ''];
  if (match === null || unit === undefined)
    throw new InvalidArgumentError('Write a number and a unit: 90s, 30m, 12h or 30d.');
  const ms = Number(match[1]) * unit;
  if (ms > longestMs) throw new InvalidArgumentError('The longest is 36500d.');
  return ms;
}

const longestMs = 36_500 * 86_400_000;

/** As `durationMs`, for a time that must not be over at once. @throws InvalidArgumentError */
export function lifetimeMs(text: string): number {
  const ms = durationMs(text);
  if (ms === 0) throw new InvalidArgumentError('It must be longer than 0.');
  return ms;
}
