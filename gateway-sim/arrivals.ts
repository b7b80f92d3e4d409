import { z } from 'zod';

const seconds = z.number().positive().max(86_400);

/** When devices come: all at once; evenly over a time; as after a power cut; at random; in waves. */
export const arrivalCurve = z.discriminatedUnion('curve', [
  z.strictObject({ curve: z.literal('at-once') }),
  z.strictObject({ curve: z.literal('even'), seconds }),
  z.strictObject({ curve: z.literal('surge'), seconds }),
  z.strictObject({ curve: z.literal('random'), perSecond: z.number().positive().max(100_000) }),
  z.strictObject({ curve: z.literal('waves'), waves: z.int().min(1).max(1000), everySeconds: seconds }),
]);

export type ArrivalCurve = z.output<typeof arrivalCurve>;

/** When each of so many devices starts, in milliseconds from the start of the run, in ascending order. */
export function arrivalTimes(arrival: ArrivalCurve, devices: number, random: () => number): number[] {
  return Array.from({ length: devices }, timeOf(arrival, devices, random)).sort((a, b) => a - b);
}

function timeOf(
  arrival: ArrivalCurve,
  devices: number,
  random: () => number,
): (value: unknown, index: number) => number {
  switch (arrival.curve) {
    case 'at-once':
      return () => 0;
    case 'even':
      return (_value, index) => (index / devices) * arrival.seconds * 1000;
    case 'surge':
      return () => surge(random()) * arrival.seconds * 1000;
    case 'random': {
      let at = 0;
      return () => {
        // the pauses of a Poisson process
        at += (-Math.log(1 - random()) / arrival.perSecond) * 1000;
        return at;
      };
    }
    case 'waves':
      return (_value, index) => Math.floor((index / devices) * arrival.waves) * arrival.everySeconds * 1000;
  }
}

/** After a power cut most devices boot at once, then fewer and fewer, with a long tail: exponential, with a mean of a fifth of the time. */
function surge(even: number): number {
  return -Math.log(1 - even * (1 - Math.exp(-5))) / 5;
}
