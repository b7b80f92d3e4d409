import { startConsolePart } from '../../app/console.ts';
import { claimStores } from '../../app/formats.ts';
import { redisOf } from '../../app/redis.ts';
import type { CliContext } from '../context.ts';
import { findAws } from '../stand-in.ts';

export function runConsole({
  serve,
  write,
  environment,
}: Pick<CliContext, 'serve' | 'write' | 'environment'>): Promise<void> {
  return serve(async (app) => {
    const redis = redisOf(app.settings);
    const found = await findAws(app, (remark) => app.log.warn(remark));
    await claimStores(found.app, redis, 'operator');
    const { password } = await startConsolePart(found.app, redis, environment);
    if (password !== undefined) write(process.stdout.isTTY ? firstPassword(password) : unseenPassword);
  });
}

/** Not through the log, which is kept and sent elsewhere. */
export const firstPassword = (password: string): string =>
  `The password of the console, shown this once: ${password}  (for another: cvm console password --reset)`;

/** What is no terminal is kept, as the log of a container is. */
export const unseenPassword =
  'The console has no password that anybody has seen: cvm console password --reset makes one and shows it';
