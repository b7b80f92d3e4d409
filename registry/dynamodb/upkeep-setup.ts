import { awsErrorName, isDenied, isUnknownOperation } from '../../aws/errors.ts';
import { retryWhile } from '../../aws/retry-while.ts';
import { cureOf, failedCall } from '../../runtime/upstream.ts';
import { expiryAttribute } from './named-attributes.ts';
import type { TableUpkeep } from './upkeep.ts';

/** `left`: the set-up does not change it, since it may not, or cannot tell how it is; with the reason and the cure. */
export type UpkeepState = 'on' | 'off' | { readonly left: string };

/** One of the two things that AWS can do for a table by itself. */
type Switch = { look(): Promise<UpkeepState>; turnOn(): Promise<void> };

export type UpkeepName = 'recovery' | 'timeToLive';

const switchesOf = (upkeep: TableUpkeep): Readonly<Record<UpkeepName, Switch>> => ({
  recovery: {
    look: async () => ((await upkeep.backups()) ? 'on' : 'off'),
    turnOn: () => upkeep.turnOnBackups(),
  },
  timeToLive: {
    async look() {
      const attribute = await upkeep.timeToLive();
      if (attribute === undefined || attribute === expiryAttribute) return attribute === undefined ? 'off' : 'on';
      return {
        left: `on for the attribute "${attribute}", by which AWS deletes rows that are none of the gateway's to delete: turn it off ("cvm doctor" prints how), and run this command again`,
      };
    },
    turnOn: () => upkeep.turnOnTimeToLive(),
  },
});

/** Looks, and changes nothing. */
export async function findUpkeep(upkeep: TableUpkeep): Promise<Readonly<Record<UpkeepName, UpkeepState>>> {
  const { recovery, timeToLive } = switchesOf(upkeep);
  const states = await Promise.all([recovery, timeToLive].map(({ look }) => look().catch(leftBy)));
  const [first = 'off', second = 'off'] = states;
  return { recovery: first, timeToLive: second };
}

/** `notDone`: it was to be turned on, and could not be. */
export type UpkeepOutcome = 'turned on' | 'exists' | { readonly left: string } | { readonly notDone: string };

/** Both are on afterwards, where AWS lets us: the table works without either. */
export async function ensureUpkeep(upkeep: TableUpkeep): Promise<Readonly<Record<UpkeepName, UpkeepOutcome>>> {
  const found = await findUpkeep(upkeep);
  const switches = switchesOf(upkeep);
  const ensure = async (name: UpkeepName): Promise<UpkeepOutcome> => {
    const state = found[name];
    if (state !== 'off') return state === 'on' ? 'exists' : state;
    try {
      await retryWhile(() => switches[name].turnOn(), passing, patienceMs);
      return 'turned on';
    } catch (error) {
      return { notDone: leftBy(error).left };
    }
  };
  const [recovery, timeToLive] = await Promise.all([ensure('recovery'), ensure('timeToLive')]);
  return { recovery, timeToLive };
}

/**
 * For a minute or so after a table was made, AWS cannot back it up yet, or one part of AWS does not know it; while it changes, it takes no
 * other change. Milliseconds.
 */
const patienceMs = 120_000;
const passing = [
  'ContinuousBackupsUnavailableException',
  'TableNotFoundException',
  'ResourceNotFoundException',
  'ResourceInUseException',
];

/** @throws what is neither a refusal nor a lack of the endpoint: then nothing is known of the table */
function leftBy(error: unknown): { readonly left: string } {
  const name = awsErrorName(error);
  if (isUnknownOperation(error)) return { left: 'not offered by this endpoint' };
  if (isDenied(error))
    return {
      left: `AWS denies ${failedCall(error).operation} to this identity: allow it ("cvm aws policy --for setup" prints all that a set-up needs), and run this command again`,
    };
  if (!doesNotChange.includes(name)) throw error;
  return { left: `AWS does not turn it on now (${name}): ${cureOf(error) ?? 'run this command again later'}` };
}

/** AWS answered that it does not do it now. */
const doesNotChange = ['ValidationException', 'LimitExceededException', ...passing];
