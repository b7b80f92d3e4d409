import { createApp } from '../../app/app.ts';
import { openDoctor } from '../../app/doctor.ts';
import type { Finding } from '../../operator/doctor/check.ts';
import { checks } from '../../operator/doctor/checks.ts';
import { runChecks, selected } from '../../operator/doctor/run.ts';
import type { Part } from '../../operator/doctor/sources.ts';
import { redisAt } from '../../queue/redis.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings, type Settings } from '../../runtime/settings.ts';
import { isolated } from './program.ts';

type Setup = {
  readonly dataDir: string;
  /** settings, as in the environment */
  readonly env?: Readonly<Record<string, string>>;
  /** the stand-in, or whatever answers there */
  readonly aws?: string;
  readonly over?: Partial<Settings>;
  readonly quick?: boolean;
  readonly parts?: readonly Part[];
  readonly fix?: boolean;
  /** only these checks */
  readonly only?: readonly string[];
};

/** What `cvm doctor` finds, as it finds it, without the start of a program. */
export async function examine({
  dataDir,
  env = {},
  aws,
  over = {},
  quick = false,
  ...more
}: Setup): Promise<readonly Finding[]> {
  const { parts = ['broker', 'worker'], fix = false, only } = more;
  const loaded = loadSettings({ ...isolated(dataDir), ...env });
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const access = aws === undefined ? {} : { aws: { region: 'us-east-1', endpoint: aws, credentials } };
  const settings = { ...loaded, ...access, ...over };
  const app = createApp(settings, createLog('silent'));
  const redis = settings.redisUrl === undefined ? undefined : redisAt(settings.redisUrl);
  try {
    const some = selected(checks, { quick, parts }).filter(({ id }) => only === undefined || only.includes(id));
    return await runChecks(some, openDoctor(app, redis, parts), { fix });
  } finally {
    await app.lifecycle.close();
  }
}

/** The findings of one check, each as `outcome: seen`, and all that is said of those that are bad. */
export function about(findings: readonly Finding[], id: string): string {
  return findings
    .filter((finding) => finding.id === id)
    .map(({ outcome, seen, cause = '', cure = '' }) => `${outcome}: ${seen} | ${cause} | ${cure}`)
    .join('\n');
}
