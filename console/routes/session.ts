import { isIP } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { groupOf } from '../../runtime/addresses.ts';
import {
  type Caller,
  type CallerDeps,
  plainAddress,
  redisAway,
  roleOfPerson,
  sessionCookie,
  sessionIdOf,
  trustedPerson,
} from '../caller.ts';
import type { ConsoleDeps } from '../deps.ts';
import { notSignedIn, Problem } from '../problem.ts';
import { type Role, roles } from '../roles.ts';
import type { Sessions } from '../sessions.ts';

const session = z
  .object({
    person: z.string(),
    role: z.enum(roles),
    csrf: z
      .string()
      .describe('to be sent as x-csrf-token with each POST and DELETE; empty for an API token, which needs none'),
    site: z.string().optional(),
    version: z.string(),
  })
  .describe('who is signed in');

export type SessionRoutesDeps = Pick<ConsoleDeps, 'settings' | 'audit' | 'version'> & {
  readonly sessions: Sessions;
  readonly limiter: ConsoleDeps['sessions'];
  readonly callers: CallerDeps;
  roleOfPassword(password: string): Promise<Role | undefined>;
};

export function sessionRoutes(app: FastifyInstance, deps: SessionRoutesDeps): void {
  const { sessions, callers, settings, version, audit } = deps;
  const answer = (person: string, role: Role, csrf: string) => ({
    person,
    role,
    csrf,
    ...(settings.site === undefined ? {} : { site: settings.site }),
    version,
  });

  app.post<{ Body: { password: string } }>(
    '/session',
    {
      config: { access: 'open' },
      bodyLimit: 4096,
      schema: {
        summary: 'Sign in',
        security: [],
        body: z.object({ password: z.string().min(1).max(200) }),
        response: { 200: session },
      },
    },
    async (request, reply) => {
      const role = await checkPassword(request, deps);
      const before = sessionIdOf(request);
      // one that was there before, planted or not, ends here
      if (before !== undefined) await sessions.end(before).catch(() => {});
      const opened = await sessions
        .open({ person: role, role, via: 'password', mark: callers.passwordMark(role) })
        .catch((cause: unknown) => {
          throw redisAway(cause);
        });
      audit.record('signed-in', { by: `console:${role}`, remoteAddress: addressOf(request) });
      setCookie(reply, opened.id);
      return answer(role, role, opened.csrf);
    },
  );

  app.get(
    '/session',
    { config: { access: 'viewer' }, schema: { summary: 'Who is signed in', response: { 200: session } } },
    async (request, reply) => {
      const caller = request.caller as Caller;
      if (caller.session !== undefined) return answer(nameOf(caller), caller.role, caller.session.csrf);
      const person = trustedPerson(request, callers);
      if (caller.person.startsWith('token:') || person === undefined) return answer(nameOf(caller), caller.role, '');
      // of a reverse proxy: from now on its page can prove that it is ours
      const role = roleOfPerson(person, callers);
      const opened = await sessions.open({ person, role, via: 'header', mark: '' });
      audit.record('signed-in', { by: caller.person, remoteAddress: addressOf(request) });
      setCookie(reply, opened.id);
      return answer(person, role, opened.csrf);
    },
  );

  app.delete(
    '/session',
    { config: { access: 'viewer' }, schema: { summary: 'Sign out', response: { 204: z.null() } } },
    async (request, reply) => {
      const id = sessionIdOf(request);
      if (request.caller?.session === undefined || id === undefined) throw notSignedIn();
      await sessions.end(id);
      audit.record('signed-out', { by: request.caller.person });
      void reply.header('set-cookie', `${sessionCookie}=; ${cookieAttributes}; Max-Age=0`);
      return reply.code(204).send();
    },
  );
}

const nameOf = ({ person }: Caller) => person.replace(/^console:/, '');
/** Of the person, where the proxy tells it, and of the proxy where that is no address. */
export const addressOf = ({ ip, socket }: FastifyRequest) =>
  plainAddress(isIP(plainAddress(ip)) === 0 ? socket.remoteAddress : ip);

/** Without an end of its own: it goes with the browser, and the session ends by itself. */
const cookieAttributes = 'Path=/; Secure; HttpOnly; SameSite=Strict';
const setCookie = (reply: FastifyReply, id: string) =>
  reply.header('set-cookie', `${sessionCookie}=${id}; ${cookieAttributes}`);

/** @throws Problem for a wrong one, and where there were too many attempts */
async function checkPassword(
  request: FastifyRequest<{ Body: { password: string } }>,
  { limiter, audit, roleOfPassword }: SessionRoutesDeps,
): Promise<Role> {
  const remoteAddress = addressOf(request);
  const wait = await limiter.attempt(groupOf(remoteAddress)).catch((cause: unknown) => {
    throw redisAway(cause);
  });
  if (wait !== undefined)
    throw new Problem(429, 'TooManyAttempts', 'too many attempts to sign in', `wait ${wait} s, and try again`, wait);
  const role = await roleOfPassword(request.body.password);
  if (role !== undefined) {
    await limiter.succeeded(groupOf(remoteAddress)).catch(() => {});
    return role;
  }
  audit.record('sign-in-refused', { remoteAddress });
  throw new Problem(
    401,
    'WrongPassword',
    'this is not the password of the console',
    'it was shown at the first start; cvm console password --reset makes a new one',
  );
}
