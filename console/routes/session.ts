import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { groupOf } from '../../runtime/addresses.ts';
import { addressOf, type Caller, type CallerDeps, nameOf, redisAway, sessionIdOf } from '../caller.ts';
import type { ConsoleDeps } from '../deps.ts';
import { Problem } from '../problem.ts';
import { type Role, roles } from '../roles.ts';
import type { Sessions } from '../sessions.ts';

const ways = ['password', 'token', 'proxy'] as const;
type SignedInBy = (typeof ways)[number];

const session = z
  .object({
    person: z.string(),
    role: z.enum(roles),
    csrf: z
      .string()
      .describe('to be sent as x-csrf-token with each POST and DELETE; empty for an API token, which needs none'),
    by: z.enum(ways).describe('what signs in: only a password can be signed out'),
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
  const answer = ({ person, role, csrf = '' }: Caller, by: SignedInBy) => ({
    person: nameOf(person),
    role,
    csrf,
    by,
    ...(settings.site === undefined ? {} : { site: settings.site }),
    version,
  });

  app.post<{ Body: { password: string } }>(
    '/session',
    {
      config: { access: 'open' },
      bodyLimit: 4096,
      schema: {
        operationId: 'signIn',
        summary: 'Sign in',
        security: [],
        body: z.object({ password: z.string().min(1).max(200) }),
        response: { 200: session },
      },
    },
    async (request, reply) => {
      const role = await checkPassword(request, deps);
      const before = sessionIdOf(request, sessions);
      // one that was there before, planted or not, ends here
      if (before !== undefined) await sessions.end(before).catch(() => {});
      const opened = await sessions
        .open({ person: role, role, mark: callers.passwordMark(role) })
        .catch((cause: unknown) => {
          throw redisAway(cause);
        });
      const person = `console:${role}`;
      audit.record('signed-in', { by: person, remoteAddress: addressOf(request) });
      void reply.header('set-cookie', `${sessions.cookie}=${opened.id}; ${cookieAttributes}`);
      return answer({ person, role, csrf: opened.csrf }, 'password');
    },
  );

  app.get(
    '/session',
    {
      config: { access: 'viewer' },
      schema: { operationId: 'readSession', summary: 'Who is signed in', response: { 200: session } },
    },
    async (request) => {
      const caller = request.caller as Caller;
      const by = signedInBy(caller);
      if (by === 'proxy') await noteFirst(caller.person, addressOf(request), deps);
      return answer(caller, by);
    },
  );

  app.delete(
    '/session',
    {
      config: { access: 'viewer' },
      schema: { operationId: 'signOut', summary: 'Sign out', response: { 204: z.null() } },
    },
    async (request, reply) => {
      const id = sessionIdOf(request, sessions);
      if (request.caller?.session === undefined || id === undefined) throw signedInElsewhere();
      await sessions.end(id);
      audit.record('signed-out', { by: request.caller.person });
      void reply.header('set-cookie', `${sessions.cookie}=; ${cookieAttributes}; Max-Age=0`);
      return reply.code(204).send();
    },
  );
}

/** Only a session of a browser is by password, and only a program has no token of a page. */
function signedInBy({ session, csrf }: Caller): SignedInBy {
  if (session !== undefined) return 'password';
  return csrf === undefined ? 'token' : 'proxy';
}

const signedInElsewhere = () =>
  new Problem(
    409,
    'SignedInElsewhere',
    'no session of the console signs this call in: the reverse proxy does, or an API token',
    'sign out at the reverse proxy; cvm console token revoke ends an API token',
  );

/** Of a person that a reverse proxy signs in, each call would be a sign-in: the trail has the first one from an address in half a day. */
async function noteFirst(
  person: string,
  remoteAddress: string,
  { limiter, audit }: Pick<SessionRoutesDeps, 'limiter' | 'audit'>,
): Promise<void> {
  const isFirst = await limiter.isFirst(`${person} ${remoteAddress}`).catch((cause: unknown) => {
    throw redisAway(cause);
  });
  if (isFirst) audit.record('signed-in', { by: person, remoteAddress });
}

/** Without an end of its own: it goes with the browser, and the session ends by itself. */
const cookieAttributes = 'Path=/; Secure; HttpOnly; SameSite=Strict';

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
