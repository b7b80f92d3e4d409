import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import seconds from './durations.json' with { type: 'json' };

const secondsOf: Readonly<Record<string, number>> = seconds;

/**
 * Starts the longest test files first, by the seconds measured in durations.json, so that no long file runs alone at the
 * end while the other worker has nothing left to do. A file that is not in the list is short, or new. Files that share a
 * process come last, in a row: a worker keeps its process only while the next file shares it, too.
 */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const timeOf = ({ moduleId, project }: TestSpecification) =>
      secondsOf[relative(project.config.root, moduleId)] ?? 0;
    const shares = ({ project }: TestSpecification) => Number(!project.config.isolate);
    return [...files].sort((a, b) => shares(a) - shares(b) || timeOf(b) - timeOf(a));
  }
}
