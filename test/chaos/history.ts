import { existsSync, readFileSync } from 'node:fs';

type Line = {
  readonly kind: string;
  readonly key: string;
  readonly value?: { status?: string; thingName?: string; principal?: string };
};

/**
 * What happened in AWS, from the journal of the stand-in: every change in its order, so nothing is missed between two
 * samples. The stand-in compacts its journal when it starts, so it is read before each start and at the end.
 */
export function createHistory(journal: string) {
  /** thing → the sets of certificates that were ACTIVE on it at one moment, two or more, each as a text */
  const twice = new Map<string, Set<string>>();
  /** thing → its certificates that ever were ACTIVE */
  const activated = new Map<string, Set<string>>();

  function read(): void {
    const active = new Set<string>();
    const attached = new Map<string, { thing: string; certificateId: string }>();
    const look = (thing: string) => {
      const live = [...attached.values()].filter((each) => each.thing === thing && active.has(each.certificateId));
      if (live.length === 0) return;
      const ids = live.map(({ certificateId }) => certificateId).sort();
      for (const id of ids) addTo(activated, thing, id);
      if (ids.length > 1) addTo(twice, thing, ids.map(short).join(' and '));
    };
    for (const { kind, key, value } of linesOf(journal)) {
      if (kind === 'certificate') {
        if (value?.status === 'ACTIVE') active.add(key);
        else active.delete(key);
        for (const { thing, certificateId } of [...attached.values()]) if (certificateId === key) look(thing);
      } else if (kind === 'thingPrincipal') {
        if (value === undefined) attached.delete(key);
        else {
          const { thingName = '', principal = '' } = value;
          attached.set(key, { thing: thingName, certificateId: principal.slice(principal.lastIndexOf('/') + 1) });
          look(thingName);
        }
      }
    }
  }

  return {
    read,
    /** Things with two ACTIVE certificates at one moment, in words. */
    twice: (): string[] => [...twice].map(([thing, sets]) => `${thing}: ${[...sets].join('; ')}`),
    activated: (thing: string): readonly string[] => [...(activated.get(thing) ?? [])],
  };
}

export const short = (certificateId: string): string => certificateId.slice(0, 8);

function addTo(map: Map<string, Set<string>>, key: string, value: string): void {
  map.set(key, (map.get(key) ?? new Set()).add(value));
}

/** A line that is being written is left out. */
function linesOf(file: string): Line[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}
