import type { CreateIntent, Device } from './device.ts';

/** How many create calls without an outcome a row remembers. The sweep reports a certificate of an older one, and does not delete it. */
export const createIntentsLimit = 200;

/** An intent as a member of the set in the row: one write adds it, whether or not the row has a set already. */
export const textOf = ({ id, at, keyDigest = '' }: CreateIntent): string => `${at} ${id} ${keyDigest}`;

/** The intent of an attempt. */
export const intentOf = (
  { claimId = '-' }: Pick<Device, 'claimId'>,
  intent: Omit<CreateIntent, 'id'>,
): CreateIntent => ({ id: claimId, ...intent });

/** The create calls whose outcome the row does not know: under way, or their answer was lost. */
export function createIntentsOf({
  createIntents = [],
  numberedIntents = {},
}: Pick<Device, 'createIntents' | 'numberedIntents'>): readonly CreateIntent[] {
  const numbered = Object.entries(numberedIntents).map(([id, intent]) => ({ id, ...intent }));
  return [...numbered, ...createIntents.flatMap(read)];
}

/** The create intents of the attempt that has the row now. */
export const ownIntentsOf = (device: Device): readonly CreateIntent[] =>
  createIntentsOf(device).filter(({ id }) => id === device.claimId);

/** Without a member that another tool wrote. */
function read(text: string): CreateIntent[] {
  const [, at, id, keyDigest] = /^(\d+(?:\.\d+)?) (\S+) (.*)$/.exec(text) ?? [];
  return id === undefined ? [] : [{ id, at: Number(at), ...(keyDigest ? { keyDigest } : {}) }];
}

/** The intents that a row forgets when it has more than it may. */
export function beyondLimit(device: Device): readonly CreateIntent[] {
  const intents = (device.createIntents ?? []).flatMap(read);
  const surplus = intents.length - createIntentsLimit;
  return surplus <= 0 ? [] : [...intents].sort((a, b) => a.at - b.at).slice(0, surplus);
}
