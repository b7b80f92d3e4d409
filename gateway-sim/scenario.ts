import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { arrivalCurve } from './arrivals.ts';
import { type Behaviour, behaviour, usualBehaviour } from './behaviour.ts';
import { bundledScenarios, bundledSites } from './bundled.ts';

/** Kinds of devices, each with its part of the whole: parts are weights, and need not add up to 1. */
const mix = z
  .array(z.strictObject({ part: z.number().positive(), ...behaviour.shape }))
  .min(1)
  .max(100);

/** A site: how many devices it has, and what kinds of them. */
const site = z.strictObject({ description: z.string().max(400), devices: z.int().min(1).max(1_000_000), mix });

const scenario = z.strictObject({
  description: z.string().max(400),
  arrival: arrivalCurve.default({ curve: 'at-once' }),
  /** a site by name or file, or its kinds of devices */
  site: z.union([z.string().min(1), mix]),
  /** more or fewer than the site has */
  devices: z.int().min(1).max(1_000_000).optional(),
  /** how many addresses the devices come from, on this machine; 1 is one NAT address */
  addresses: z.int().min(1).max(60_000).default(1),
  /** how long a device waits for its answer on one connection */
  patienceSeconds: z.number().positive().max(86_400).default(120),
  /** between two attempts, at most */
  maxPauseSeconds: z.number().positive().max(86_400).default(30),
  /** for all attempts of a device together */
  timeoutSeconds: z.number().positive().max(604_800).default(600),
});

export type Site = z.output<typeof site>;
export type Scenario = Omit<z.output<typeof scenario>, 'site' | 'devices'> & {
  readonly name: string;
  readonly site: Site;
};

/** A mistake in a scenario or site file, or a name that is not known; for a person. */
export class ScenarioError extends Error {}

/**
 * A bundled scenario by its name, or one from a JSON file by its path.
 * @param siteName a site to use instead of the scenario's own
 * @throws ScenarioError with every mistake of the file
 */
export async function loadScenario(name: string, siteName?: string): Promise<Scenario> {
  const { value, folder } = await readNamed(name, 'scenario', bundledScenarios);
  const { site: own, devices, ...rest } = parse(scenario, value, name);
  const named = siteName ?? own;
  const inline = { description: '', devices: 100, mix: own as Site['mix'] };
  const read = typeof named === 'string' ? await loadSite(named, siteName === undefined ? folder : '.') : inline;
  return { ...rest, name, site: { ...read, devices: (siteName === undefined ? devices : undefined) ?? read.devices } };
}

/** A bundled site by its name, or one from a JSON file by its path. @throws ScenarioError */
export async function loadSite(name: string, folder?: string): Promise<Site> {
  const { value } = await readNamed(name, 'site', bundledSites, folder);
  return parse(site, value, name);
}

async function readNamed(
  name: string,
  kind: 'scenario' | 'site',
  bundled: Readonly<Record<string, unknown>>,
  folder = '.',
): Promise<{ value: unknown; folder: string }> {
  if (Object.hasOwn(bundled, name)) return { value: bundled[name], folder: '.' };
  if (!name.endsWith('.json') && !/[/\\]/.test(name))
    throw new ScenarioError(
      `no ${kind} is named ${JSON.stringify(name)}: take ${Object.keys(bundled).join(', ')}, or the path of a .json file`,
    );
  const file = resolve(folder, name);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new ScenarioError(`the ${kind} ${file} cannot be read (${error.code})`);
  });
  try {
    // editors of Windows begin a file with a byte order mark, which JSON.parse refuses
    return { value: JSON.parse(text.replace(/^\uFEFF/, '')), folder: dirname(file) };
  } catch (error) {
    throw new ScenarioError(`the ${kind} ${file} is not JSON: ${(error as Error).message}`);
  }
}

function parse<T>(schema: z.ZodType<T>, value: unknown, name: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const mistakes = result.error.issues.flatMap(describeIssue);
  throw new ScenarioError(`${name}: ${[...new Set(mistakes)].join('; ')}`);
}

/** A union's own message says nothing; those of the branch that came furthest do. */
function describeIssue(issue: z.core.$ZodIssue): string[] {
  const place = issue.path.join('.') || 'the file';
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const nested = issue.errors.reduce((best, each) => (depth(each) > depth(best) ? each : best));
    return nested.flatMap((each) => describeIssue({ ...each, path: [...issue.path, ...each.path] }));
  }
  return [`${place}: ${issue.message}`];
}

const depth = (issues: readonly z.core.$ZodIssue[]): number => Math.max(0, ...issues.map(({ path }) => path.length));

/** The kinds in a few words, each with its part: `2 csr, 1 ec cbor psk acknowledges=false`. What is usual is left out. */
export function kindsText(kinds: Site['mix']): string {
  return kinds.map(kindText).join(', ');
}

function kindText({ part, flow, ...rest }: Site['mix'][number]): string {
  const usual: Readonly<Record<string, unknown>> = usualBehaviour;
  const others = Object.entries(rest).filter(([name, value]) => value !== undefined && value !== usual[name]);
  const words = others.map(([name, value]) =>
    name === 'encoding' || name === 'prove'
      ? value
      : `${name}=${typeof value === 'object' ? JSON.stringify(value) : value}`,
  );
  return [part, flow, ...words].join(' ');
}

/** What each of so many devices is: each kind has its part, and the order is mixed. */
export function behavioursOf(kinds: Site['mix'], devices: number, random: () => number): Behaviour[] {
  const whole = kinds.reduce((sum, { part }) => sum + part, 0);
  let [upTo, index] = [0, 0];
  const all: Behaviour[] = [];
  for (const { part, ...each } of kinds) {
    upTo += part;
    for (const end = Math.round((upTo / whole) * devices); index < end; index++) all.push(each);
  }
  for (let at = all.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [all[at], all[other]] = [all[other] as Behaviour, all[at] as Behaviour];
  }
  return all;
}
