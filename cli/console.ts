import { Command, InvalidArgumentError, Option } from 'commander';
import { startConsolePart } from '../app/console.ts';
import { claimStores } from '../app/formats.ts';
import { redisOf } from '../app/redis.ts';
import {
  createApiToken,
  listApiTokens,
  revokeApiToken,
  tokenNamePattern,
  tokenNameRule,
} from '../console/api-tokens.ts';
import { resetPassword } from '../console/password.ts';
import { type Role, roles } from '../console/roles.ts';
import type { CliContext } from './context.ts';
import { fail } from './devices/print.ts';
import { lifetimeMs } from './duration.ts';
import { findAws } from './stand-in.ts';
import { UsageError } from './usage-error.ts';

type ConsoleContext = Pick<CliContext, 'serve' | 'environment' | 'settings' | 'audit' | 'write'>;

export function consoleCommand(context: ConsoleContext): Command {
  const command = new Command('console').action(() => serve(context));
  command
    .command('password')
    .description('make a new password for the console; the one before, and its sessions, end at once')
    .option('--reset', 'make the password: without this option the command changes nothing')
    .addOption(
      new Option('--role <role>', 'whose password: an operator decides, a viewer only looks')
        .choices(roles)
        .default('operator'),
    )
    .action(async ({ reset, role }: { reset?: boolean; role: Role }) => {
      if (!reset)
        throw new UsageError('the password is stored as a hash only, and cannot be shown; --reset makes another');
      const password = await resetPassword(context.settings().dataDir, role);
      context.audit().record('password-made', { role });
      context.write(`${role}  ${password}`);
    });
  command.addCommand(tokenCommand(context));
  return command;
}

function serve({ serve, write, environment }: ConsoleContext): Promise<void> {
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

function tokenCommand({ settings, audit, write }: ConsoleContext): Command {
  const token = new Command('token').description('API tokens, by which programs use what the console does');
  token
    .command('create')
    .argument('<name>', 'says what the token is for', tokenName)
    .description('make an API token; it is printed once')
    .addOption(new Option('--role <role>', 'an operator decides, a viewer only looks').choices(roles).default('viewer'))
    .option('--expires <duration>', 'its lifetime: 12h, 30d (default: no end)', lifetimeMs)
    .option('--json', 'as JSON')
    .action(async (name: string, { role, expires, json }: { role: Role; expires?: number; json?: boolean }) => {
      const made = await createApiToken(settings().dataDir, { name, role, lifetimeMs: expires }, Date.now());
      if (made.outcome === 'exists')
        return fail(`there is an API token ${name} already; cvm console token revoke ${name} ends it`);
      if (made.outcome !== 'created')
        return fail('there are 100 API tokens, which is the limit; revoke those that are not used any more');
      audit().record('api-token-made', { token: name, role });
      write(json ? JSON.stringify({ ...made.about, token: made.token }) : made.token);
    });
  token
    .command('list')
    .description('list the API tokens')
    .option('--json', 'one JSON object a line')
    .action(({ json }: { json?: boolean }) => {
      for (const { id, name, role, createdAt, expiresAt } of listApiTokens(settings().dataDir)) {
        const times = {
          createdAt: isoTime(createdAt),
          ...(expiresAt === undefined ? {} : { expiresAt: isoTime(expiresAt) }),
        };
        const end = expiresAt === undefined ? 'without end' : `until ${times.expiresAt}`;
        write(json ? JSON.stringify({ id, name, role, ...times }) : `${id}  ${role.padEnd(8)}  ${name}  ${end}`);
      }
    });
  token
    .command('revoke')
    .argument('<name>', 'name or id of the token')
    .description('end an API token at once')
    .action(async (which: string) => {
      const revoked = await revokeApiToken(settings().dataDir, which);
      if (revoked === undefined)
        return fail(`there is no API token ${JSON.stringify(which)}; cvm console token list shows them`);
      audit().record('api-token-revoked', { token: revoked.name });
      write(`${revoked.name} is revoked`);
    });
  return token;
}

const isoTime = (ms: number) => new Date(ms).toISOString();

function tokenName(text: string): string {
  if (!tokenNamePattern.test(text)) throw new InvalidArgumentError(tokenNameRule);
  return text;
}
