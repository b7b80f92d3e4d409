import { InvalidArgumentError } from 'commander';

/** An option's number, from 1. @throws InvalidArgumentError */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number from 1.');
  return value;
}

/** As many devices as a scenario may have: each takes memory from the start of the run. */
const mostDevices = 1_000_000;

/** An option's number of simulated devices. @throws InvalidArgumentError */
export function deviceCount(text: string): number {
  const value = wholeNumber(text);
  if (value > mostDevices)
    throw new InvalidArgumentError(
      `It must be a whole number from 1 to ${mostDevices}: start more simulators for more.`,
    );
  return value;
}

/** An option's number of processes. @throws InvalidArgumentError */
export function processCount(text: string): number {
  const value = wholeNumber(text);
  if (value > 64) throw new InvalidArgumentError('It must be a whole number from 1 to 64: one for each core at most.');
  return value;
}

/** An option's TCP port. @throws InvalidArgumentError */
export function portNumber(text: string): number {
  const value = wholeNumber(text);
  if (value > 65_535) throw new InvalidArgumentError('It must be a port, 1 to 65535.');
  return value;
}

/** An option's number above 0. @throws InvalidArgumentError */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('It must be a number above 0.');
  return value;
}
