import { textOf } from '../create-intents.ts';
import type { CreateIntent, Device } from '../device.ts';
import { all } from '../rows.ts';
import { where } from './device-rows.ts';

/** As a part of an update: notes an intent. */
export const noting = (intent: CreateIntent) => ({ createIntents: [textOf(intent)] });

/**
 * As parts of an update: forgets intents. An earlier version wrote them into a map, by the number of the attempt; a claim's id is
 * never a number.
 */
export function forgetting(intents: readonly CreateIntent[]) {
  const numbered = intents.filter(isNumbered).map(({ id }): [string, undefined] => [id, undefined]);
  const texts = intents.filter((intent) => !isNumbered(intent)).map(textOf);
  return {
    ...(texts.length === 0 ? {} : { exclude: { createIntents: texts } }),
    ...(numbered.length === 0 ? {} : { setEntries: { numberedIntents: Object.fromEntries(numbered) } }),
  };
}

const isNumbered = ({ id }: CreateIntent): boolean => /^\d+$/.test(id);

/** The row knows the outcome of every create call. */
export const hasNoIntents = all<Device>(where.isMissing('createIntents'), where.hasFewerThan(1, 'numberedIntents'));
