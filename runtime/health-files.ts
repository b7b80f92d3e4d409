import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { within } from './deadline.ts';
import { systemCure } from './errors.ts';
import type { Log } from './log.ts';
import { createOutageLog } from './outage-log.ts';

/** Milliseconds: between two beats, before the first one, and how long one check may take. */
const usualTimes = { everyMs: 5000, firstMs: 500, checkMs: 8000 };

/** @returns a trouble that a part has now, with its cure; undefined for none */
export type HealthCheck = () => string | undefined | Promise<string | undefined>;

/** A check with its name, which metrics and /readyz show. */
export type NamedCheck = { readonly name: string; readonly look: HealthCheck };

/** What the checks of a part found last. `checks` is empty before the first look. */
export type HealthReport = {
  readonly part: string;
  readonly site: string | undefined;
  readonly checks: readonly { readonly name: string; readonly trouble: string | undefined }[];
};

/**
 * Says by two files how a part of the gateway is, for `cvm health`. `<part>.alive` is written every five seconds: by its age one
 * sees that the process was frozen, is blocked, or has ended. `<part>.trouble` is there while the part cannot do its work, and says why.
 */
export function keepHealthFiles(options: {
  folder: string;
  part: string;
  checks: readonly NamedCheck[];
  /** the name of the site, for the person who asks */
  site?: string | undefined;
  /** called with all troubles of each check, also when there is none */
  onChecked?: (troubles: readonly string[]) => void;
  log: Log;
  times?: Partial<typeof usualTimes>;
}) {
  const { folder, part, checks, site, onChecked = () => {}, log } = options;
  const { everyMs, firstMs, checkMs } = { ...usualTimes, ...options.times };
  const [alive, trouble] = [join(folder, `${part}.alive`), join(folder, `${part}.trouble`)];
  const outage = createOutageLog(log, {
    away: `${alive} cannot be written, so health checks fail`,
    back: `${alive} can be written again`,
  });
  let [checking, closed] = [false, false];
  let report: HealthReport = { part, site, checks: [] };

  // where the files cannot be written, the age of the first says so: a full disk must not end the part
  const write = (file: string, text: string) => {
    try {
      // also a folder that was removed meanwhile
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      writeFileSync(file, text);
      outage.succeeded();
    } catch (err) {
      const cure = systemCure(err);
      outage.failed(err, cure === undefined ? undefined : `${file} cannot be written, so health checks fail: ${cure}`);
    }
  };
  const remove = (file: string) => {
    try {
      rmSync(file, { force: true });
    } catch (err) {
      log.debug({ err }, 'a health file could not be removed');
    }
  };

  async function check(): Promise<void> {
    const found = await Promise.all(
      checks.map(async ({ name, look }) => ({
        name,
        trouble: await within(checkMs, 'a health check', Promise.resolve().then(look)).catch(
          (error: Error) => error.message,
        ),
      })),
    );
    if (closed) return;
    report = { part, site, checks: found };
    const troubles = found.flatMap(({ trouble: text }) => (text === undefined ? [] : [text]));
    onChecked(troubles);
    if (troubles.length === 0) remove(trouble);
    else write(trouble, `${troubles.join('\n')}\n`);
  }

  function beat(): void {
    write(alive, site === undefined ? 'alive\n' : `alive, site ${site}\n`);
    if (checking) return;
    checking = true;
    void check().finally(() => {
      checking = false;
    });
  }

  // what an earlier process wrote is over
  remove(trouble);
  const first = setTimeout(beat, firstMs);
  const timer = setInterval(beat, everyMs);
  for (const each of [first, timer]) each.unref();
  return {
    name: `health of the ${part}`,
    /** of the last look, five seconds ago at most */
    report: () => report,
    async close() {
      closed = true;
      clearTimeout(first);
      clearInterval(timer);
      remove(alive);
      remove(trouble);
    },
  };
}
