import { readFileSync } from 'node:fs';
import type { Profiler } from 'node:inspector';

export type Share = { readonly module: string; readonly ms: number };

/**
 * The time that a process spent in each module itself, not in other modules that it called, the longest first. Native code counts for
 * the module that called it.
 */
export function selfTimes(file: string): Share[] {
  const { nodes, samples = [], timeDeltas = [] } = JSON.parse(readFileSync(file, 'utf8')) as Profiler.Profile;
  const parents = new Map(nodes.flatMap((parent) => (parent.children ?? []).map((child) => [child, parent] as const)));
  const moduleById = new Map(nodes.map((node) => [node.id, moduleOf(node, parents)]));
  const spent = new Map<string, number>();
  for (const [index, id] of samples.entries()) {
    const module = moduleById.get(id) ?? '';
    spent.set(module, (spent.get(module) ?? 0) + (timeDeltas[index] ?? 0) / 1000);
  }
  for (const idle of ['(idle)', '(program)', 'node:inspector']) spent.delete(idle);
  return [...spent].map(([module, ms]) => ({ module, ms })).sort((one, other) => other.ms - one.ms);
}

function moduleOf(node: Profiler.ProfileNode, parents: ReadonlyMap<number, Profiler.ProfileNode>): string {
  const { url, functionName } = node.callFrame;
  if (url !== '') return /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? url.replace(/^.*\/dist\//, '');
  const caller = parents.get(node.id);
  return caller === undefined || functionName.startsWith('(') ? functionName : moduleOf(caller, parents);
}
