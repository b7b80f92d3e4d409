import { Problem } from './problem.ts';

/** Runs `act` for one caller at a time, in the order in which they came. @throws Problem where too many wait already */
export function oneAtATime<Argument, Result>(
  mostWaiting: number,
  act: (argument: Argument) => Promise<Result>,
): (argument: Argument) => Promise<Result> {
  let [last, waiting]: [Promise<unknown>, number] = [Promise.resolve(), 0];
  return (argument) => {
    if (waiting > mostWaiting)
      return Promise.reject(
        new Problem(429, 'Busy', 'others wait for the same already', 'try again in some seconds', 5),
      );
    waiting++;
    const own = last.then(() => act(argument)).finally(() => waiting--);
    last = own.catch(() => {});
    return own;
  };
}
