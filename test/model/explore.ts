/**
 * Explores every schedule of a few concurrent processes that are real asynchronous code: wherever one of them calls a
 * port, the explorer decides who goes on, and what becomes of the call. An execution is repeated from the start for each
 * new choice (stateless model checking, as in Godefroid's VeriSoft), and ends early where it reaches a state that was
 * seen before. What a process knows is what its calls have answered so far, so its history is its local state.
 */

/** What can become of a call, besides being carried out. `crash` ends the process for good. */
export type Mishap = 'crash-before' | 'crash-after' | 'answer-lost' | 'failed';

/** One run of the world, from its beginning. */
export type World = {
  /** everything that processes share, as text: what is the same text is the same state */
  snapshot(): string;
  /** @throws when a promise is broken; called after every step */
  check(): void;
  /** @throws when the end is not a good one; called when no process has work left. Carries out calls at once. */
  finish(): Promise<void>;
  readonly processes: readonly { readonly name: string; run(): Promise<unknown> }[];
  /** events that may happen by themselves, with the number of times */
  readonly events: readonly { readonly name: string; readonly times: number; happen(): void }[];
};

/** Given to a world, to route the calls of its processes through. */
export type Gate = <T>(process: string, call: string, act: () => T | Promise<T>) => Promise<T>;

export type Exploration = {
  readonly states: number;
  readonly executions: number;
  readonly endings: number;
  readonly violations: number;
  /** the steps of the first few */
  readonly traces: readonly { readonly why: string; readonly steps: readonly string[] }[];
  /** whether everything within the bounds was explored */
  readonly complete: boolean;
};

type Pending = {
  readonly process: string;
  readonly call: string;
  readonly act: () => unknown;
  readonly settle: (outcome: Promise<unknown>) => void;
};

const mishaps: readonly Mishap[] = ['crash-before', 'crash-after', 'answer-lost', 'failed'];
const tracesKept = 3;

/** What to explore, and how far. */
type Bounds = {
  world(gate: Gate): World;
  /** mishaps in one execution, at most */
  readonly faults: number;
  /** in which order choices are tried: matters where `maxStates` ends it early */
  readonly seed?: number;
};

export async function explore(
  options: Bounds & {
    maxStates?: number;
    /** ends at the first violation */
    untilViolation?: boolean;
  },
): Promise<Exploration> {
  const { maxStates = Number.POSITIVE_INFINITY, untilViolation = false } = options;
  const seen = new Set<number>();
  const traces: { why: string; steps: string[] }[] = [];
  let [executions, endings, violations] = [0, 0, 0];
  /** at each depth of the current path: which choice was taken, and of how many */
  const path: { taken: number; of: number }[] = [];

  do {
    executions++;
    const outcome = await execute(options, path, seen);
    if (outcome.ended) endings++;
    if (outcome.why !== undefined) {
      violations++;
      if (traces.length < tracesKept) traces.push({ why: outcome.why, steps: outcome.steps });
      if (untilViolation) break;
    }
    while (path.length > 0 && (path.at(-1)?.taken ?? 0) + 1 >= (path.at(-1)?.of ?? 0)) path.pop();
    const last = path.at(-1);
    if (last !== undefined) last.taken++;
  } while (path.length > 0 && seen.size < maxStates);
  return { states: seen.size, executions, endings, violations, traces, complete: path.length === 0 };
}

/**
 * Looks for a violation that is known to be there. In one order of choices it may lie behind many states, in another behind
 * a few. So each of many orders is tried for a short way, and the last one to its end.
 * @returns the first exploration that found one, or the last
 */
export async function exploreUntilViolation(options: Omit<Bounds, 'seed'>): Promise<Exploration> {
  let result: Exploration | undefined;
  const orders = 16;
  for (let seed = 1; seed <= orders; seed++) {
    result = await explore({
      ...options,
      seed,
      maxStates: seed === orders ? Number.POSITIVE_INFINITY : 500,
      untilViolation: true,
    });
    if (result.violations > 0) return result;
  }
  return result as Exploration;
}

type Outcome = { readonly ended: boolean; readonly why?: string; readonly steps: string[] };

/** One execution: follows `path`, and extends it with first choices until it ends or reaches what was seen. */
async function execute(
  { world: open, faults, seed = 0 }: Bounds,
  path: { taken: number; of: number }[],
  seen: Set<number>,
): Promise<Outcome> {
  const run = createRun(open);
  const steps: string[] = [];
  let left = faults;
  for (let depth = 0; ; depth++) {
    await settled();
    const choices = shuffled(run.choices(left), seed + depth);
    if (choices.length === 0) break;
    if (depth === path.length) {
      const state = hash(`${left}|${run.state()}`);
      if (seen.has(state)) return { ended: false, steps };
      seen.add(state);
      path.push({ taken: 0, of: choices.length });
    }
    const choice = choices[path[depth]?.taken ?? 0];
    if (choice === undefined) throw new Error('the world is not the same when it is run again');
    if (choice.mishap !== undefined) left--;
    steps.push(choice.name);
    run.take(choice);
    await settled();
    const why = attempt(() => run.world.check());
    if (why !== undefined) return { ended: true, why, steps };
  }
  const end = hash(`end|${run.state()}`);
  if (seen.has(end)) return { ended: false, steps };
  seen.add(end);
  run.free();
  try {
    await run.world.finish();
  } catch (error) {
    return { ended: true, why: error instanceof Error ? error.message : String(error), steps };
  }
  return { ended: true, steps };
}

type Choice =
  | { readonly name: string; readonly pending: Pending; readonly mishap?: Mishap }
  | { readonly name: string; readonly event: World['events'][number]; readonly mishap?: undefined };

function createRun(open: (gate: Gate) => World) {
  let waiting: Pending[] = [];
  let free = false;
  const dead = new Set<string>();
  const histories = new Map<string, number>();
  const happened = new Map<string, number>();

  const gate: Gate = (process, call, act) => {
    if (free) return Promise.resolve().then(act);
    if (dead.has(process)) return never;
    return new Promise((resolve) => {
      waiting.push({ process, call, act, settle: (outcome) => resolve(outcome as never) });
    });
  };
  const world = open(gate);
  for (const { name, run } of world.processes) {
    run().then(
      (value) => remember(name, `returned ${JSON.stringify(value)}`),
      (error: unknown) => remember(name, `threw ${String(error)}`),
    );
  }

  function remember(process: string, what: string): void {
    histories.set(process, hash(`${histories.get(process) ?? 0}|${what}`));
  }

  function take(choice: Choice): void {
    if ('event' in choice) {
      happened.set(choice.event.name, (happened.get(choice.event.name) ?? 0) + 1);
      choice.event.happen();
      return;
    }
    const { pending, mishap } = choice;
    const { process, call } = pending;
    waiting = waiting.filter((each) => each !== pending);
    if (mishap === 'crash-before' || mishap === 'crash-after') {
      if (mishap === 'crash-after') attemptAsync(pending.act).catch(() => {});
      dead.add(process);
      waiting = waiting.filter((each) => each.process !== process);
      remember(process, 'dead');
      return;
    }
    const outcome =
      mishap === 'failed' ? Promise.reject(new Error('failed before it acted')) : attemptAsync(pending.act);
    const seen =
      mishap === 'answer-lost' ? outcome.then(() => Promise.reject(new Error('its answer was lost'))) : outcome;
    seen.then(
      (value) => remember(process, `${call} ${JSON.stringify(value)}`),
      (error: unknown) => remember(process, `${call} ${String(error)}`),
    );
    pending.settle(seen);
  }

  return {
    world,
    take,
    /** from now on calls are carried out at once */
    free(): void {
      free = true;
    },
    choices(faults: number): Choice[] {
      const calls = waiting.flatMap((pending): Choice[] => {
        const name = `${pending.process}: ${pending.call}`;
        const plain: Choice = { name, pending };
        if (faults === 0) return [plain];
        return [plain, ...mishaps.map((mishap) => ({ name: `${name} – ${mishap}`, pending, mishap }))];
      });
      // what happens by itself matters only while somebody is at work
      const events =
        waiting.length === 0 ? [] : world.events.filter(({ name, times }) => (happened.get(name) ?? 0) < times);
      return [...calls, ...events.map((event): Choice => ({ name: event.name, event }))];
    },
    state: () =>
      JSON.stringify([
        [...histories].sort(),
        waiting.map(({ process, call }) => `${process} ${call}`).sort(),
        [...happened],
        world.snapshot(),
      ]),
  };
}

const never = new Promise<never>(() => {});

/**
 * Resolves when every process waits for a call, or has ended: nothing here takes longer than microtasks, and Node runs
 * the next tick when none of them is left.
 */
function settled(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}

function attempt(act: () => void): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function attemptAsync(act: () => unknown): Promise<unknown> {
  return act();
}

/** Always the same order for the same seed. */
function shuffled(choices: readonly Choice[], seed: number): readonly Choice[] {
  if (choices.length < 2) return choices;
  const keys = new Map(choices.map((choice) => [choice, hash(`${seed} ${choice.name}`)]));
  return [...choices].sort((a, b) => (keys.get(a) ?? 0) - (keys.get(b) ?? 0));
}

/** 53 bits (cyrb53): among a million states, two of them are taken for one with a chance of one in ten thousand. */
function hash(text: string): number {
  let [h1, h2] = [0xdeadbeef, 0x41c6ce57];
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    h1 = Math.imul(h1 ^ code, 2654435761);
    h2 = Math.imul(h2 ^ code, 1597334677);
  }
  h1 = Math.imul(h1 ^ (h1 >>> 16), 2246822507) ^ Math.imul(h2 ^ (h2 >>> 13), 3266489909);
  h2 = Math.imul(h2 ^ (h2 >>> 16), 2246822507) ^ Math.imul(h1 ^ (h1 >>> 13), 3266489909);
  return 4294967296 * (2097151 & h2) + (h1 >>> 0);
}
