import { Problem } from './problem.ts';

const busy = () => new Problem(429, 'Busy', 'others wait for the same already', 'try again in some seconds', 5);

/** Runs `act` for one caller at a time, in the order in which they came. @throws Problem where too many wait already */
export const oneAtATime = <Argument, Result>(
  mostWaiting: number,
  act: (argument: Argument) => Promise<Result>,
): ((argument: Argument) => Promise<Result>) => someAtATime({ atOnce: 1, mostWaiting }, act);

/** Runs `act` for `atOnce` callers at the same time; others wait in the order in which they came. @throws Problem where too many wait already */
export function someAtATime<Argument, Result>(
  { atOnce, mostWaiting }: { readonly atOnce: number; readonly mostWaiting: number },
  act: (argument: Argument) => Promise<Result>,
): (argument: Argument) => Promise<Result> {
  const waiting: (() => void)[] = [];
  let running = 0;
  const leave = () => {
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  };
  return async (argument) => {
    if (running < atOnce) running++;
    else if (waiting.length >= mostWaiting) throw busy();
    else await new Promise<void>((resolve) => waiting.push(resolve));
    return act(argument).finally(leave);
  };
}

/** Places for what is in memory as a whole. @returns the function that gives the place back @throws Problem where all are taken */
export function createPlaces(most: number): { take(): () => void } {
  let taken = 0;
  return {
    take() {
      if (taken >= most) throw busy();
      taken++;
      let isGivenBack = false;
      return () => {
        if (!isGivenBack) taken--;
        isGivenBack = true;
      };
    },
  };
}
