import { Command, InvalidArgumentError, Option } from 'commander';
import { type Role, roles } from '../console/roles.ts';
import { tokenNamePattern, tokenNameRule } from '../console/token-name.ts';
import { complain } from './complaint.ts';
import type { CliContext } from './context.ts';
import { withKnownFolder } from './data-folder.ts';
import { lifetimeMs } from './duration.ts';
import { UsageError } from './usage-error.ts';

type ConsoleContext = Pick<CliContext, 'serve' | 'environment' | 'settings' | 'audit' | 'write'>;

export function consoleCommand(given: ConsoleContext): Command {
  const context = { ...given, settings: withKnownFolder(given.settings) };
  const command = new Command('console').action(async () =>
    (await import('./services/console.ts')).runConsole(context),
  );
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
      const { resetPassword } = await import('../console/password.ts');
      const password = await resetPassword((await context.settings()).dataDir, role);
      (await context.audit()).record('password-made', { role });
      context.write(`${role}  ${password}`);
    });
  command.addCommand(tokenCommand(context));
  return command;
}

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
      const { createApiToken } = await import('../console/api-tokens.ts');
      const made = await createApiToken((await settings()).dataDir, { name, role, lifetimeMs: expires }, Date.now());
      if (made.outcome === 'exists')
        return complain(
          { cause: `there is an API token ${name} already`, cure: `cvm console token revoke ${name} ends it` },
          json,
        );
      if (made.outcome !== 'created')
        return complain(
          {
            cause: 'there are 100 API tokens, which is the limit',
            cure: 'revoke those that are not used any more: cvm console token list shows them',
          },
          json,
        );
      (await audit()).record('api-token-made', { token: name, role });
      write(json ? JSON.stringify({ ...made.about, token: made.token }) : made.token);
    });
  token
    .command('list')
    .description('list the API tokens')
    .option('--json', 'one JSON object a line')
    .action(async ({ json }: { json?: boolean }) => {
      const { listApiTokens } = await import('../console/api-tokens.ts');
      for (const { id, name, role, createdAt, expiresAt } of listApiTokens((await settings()).dataDir)) {
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
      const { revokeApiToken } = await import('../console/api-tokens.ts');
      const revoked = await revokeApiToken((await settings()).dataDir, which);
      if (revoked === undefined)
        return complain({
          cause: `there is no API token ${JSON.stringify(which)}`,
          cure: 'cvm console token list shows them',
        });
      (await audit()).record('api-token-revoked', { token: revoked.name });
      write(`${revoked.name} is revoked`);
    });
  return token;
}

const isoTime = (ms: number) => new Date(ms).toISOString();

function tokenName(text: string): string {
  if (!tokenNamePattern.test(text)) throw new InvalidArgumentError(tokenNameRule);
  return text;
}
