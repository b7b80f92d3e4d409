import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';
import type { AddressList } from '../runtime/addresses.ts';
import type { ApiToken } from './api-tokens.ts';
import { isEqual } from './equal.ts';
import { notSignedIn, Problem } from './problem.ts';
import { mayDecide, type Role } from './roles.ts';
import type { OpenSession, Sessions } from './sessions.ts';

/** Who makes a call. */
export type Caller = {
  /** as it stands in the audit trail */
  readonly person: string;
  readonly role: Role;
  /** of a browser that signed in with a password */
  readonly session?: OpenSession;
  /** what a page of ours sends with each change; absent for an API token, which no browser adds by itself */
  readonly csrf?: string;
};

/** What a route asks of its caller. `open`: nothing. */
export type Access = 'open' | Role;

declare module 'fastify' {
  interface FastifyRequest {
    /** undefined only where the route is open */
    caller: Caller | undefined;
  }
  interface FastifyContextConfig {
    access?: Access;
    /** points of a caller's pace; absent: the usual */
    cost?: number;
  }
}

export const csrfHeader = 'x-csrf-token';

export type CallerDeps = {
  readonly sessions: { find(id: string): ReturnType<Sessions['find']> } & Pick<Sessions, 'csrfOfPerson' | 'cookie'>;
  readonly tokens: { find(text: string, now: number): ApiToken | undefined };
  /** names the password of a role */
  passwordMark(role: Role): string;
  /** a reverse proxy that has signed the person in, and in which header it names it */
  readonly trusted?: { readonly header: string; readonly from: AddressList } | undefined;
  /** the persons of that header that may decide */
  readonly operators: readonly string[];
  now(): number;
};

/** Finds out who makes this call. Undefined: a caller without a session or token. @throws Problem for an unknown API token, and when sessions cannot be read */
export async function callerOf(request: FastifyRequest, deps: CallerDeps): Promise<Caller | undefined> {
  const { authorization } = request.headers;
  // of another scheme: that was for a reverse proxy, which has passed it on
  if (authorization !== undefined && /^Bearer\b/i.test(authorization)) return callerOfToken(authorization, deps);
  const id = sessionIdOf(request, deps.sessions);
  const session = id === undefined ? undefined : await findSession(id, deps);
  if (session !== undefined && isCurrent(session, deps))
    return { person: `console:${session.person}`, role: session.role, session, csrf: session.csrf };
  // the proxy signs each call in, so there is no session that could be left open, stolen or flooded
  const person = trustedPerson(request, deps);
  if (person === undefined) return undefined;
  const [csrf] = deps.sessions.csrfOfPerson(person);
  return { person: `console:${person}`, role: roleOfPerson(person, deps), csrf };
}

function callerOfToken(authorization: string, { tokens, now }: CallerDeps): Caller {
  const [, text] = /^Bearer +(\S+)$/i.exec(authorization) ?? [];
  const token = text === undefined ? undefined : tokens.find(text, now());
  if (token !== undefined) return { person: `token:${token.name}`, role: token.role };
  throw new Problem(
    401,
    'InvalidApiToken',
    'the API token is not valid: it was revoked, or it has ended',
    'make another with cvm console token create',
  );
}

/** The person that a reverse proxy names; undefined for a call from any other address. */
function trustedPerson({ raw, socket }: FastifyRequest, { trusted }: Pick<CallerDeps, 'trusted'>): string | undefined {
  if (trusted === undefined || !trusted.from.has(plainAddress(socket.remoteAddress))) return undefined;
  const [named = '', ...others] = raw.headersDistinct[trusted.header] ?? [];
  // two headers: one comes from the proxy, the other from the client
  return others.length === 0 && personPattern.test(named) ? named : undefined;
}

/** The form of names and mail addresses of identity providers. */
const personPattern = /^[\p{L}\p{N}._@+ -]{1,200}$/u;

export const nameOf = (person: string): string => person.replace(/^(console|token):/, '');

/** Of the person, where the proxy tells it, and of the proxy where that is no address. */
export const addressOf = ({ ip, socket }: FastifyRequest) =>
  plainAddress(isIP(plainAddress(ip)) === 0 ? socket.remoteAddress : ip);

export const plainAddress = (address = ''): string => address.replace(/^::ffff:/, '');

/** A person that is no longer on the list of operators may only look. */
const roleOfPerson = (person: string, { operators }: Pick<CallerDeps, 'operators'>): Role =>
  operators.includes(person) ? 'operator' : 'viewer';

const isCurrent = ({ role, mark }: OpenSession, { passwordMark }: CallerDeps) => isEqual(mark, passwordMark(role));

export function sessionIdOf({ headers }: FastifyRequest, { cookie }: Pick<Sessions, 'cookie'>): string | undefined {
  for (const pair of (headers.cookie ?? '').split(';')) {
    const [name, value] = pair.trim().split('=', 2);
    if (name === cookie) return value;
  }
  return undefined;
}

async function findSession(id: string, { sessions }: CallerDeps): Promise<OpenSession | undefined> {
  return sessions.find(id).catch((cause: unknown) => {
    throw redisAway(cause);
  });
}

export const redisAway = (cause: unknown): Problem =>
  Object.assign(
    new Problem(
      503,
      'Unavailable',
      'Redis is away, and the console cannot go on without it',
      'see cvm status: start Redis, or correct REDIS_URL',
    ),
    { cause },
  );

/** @throws Problem where the caller may not do this */
export function requireAccess(
  access: Access,
  caller: Caller | undefined,
  request: FastifyRequest,
  sessions: Pick<Sessions, 'csrfOfPerson'>,
): void {
  if (access === 'open') return;
  if (caller === undefined) throw notSignedIn();
  if (isChange(request)) requireOwnPage(caller, request, sessions);
  if (access === 'operator' && !mayDecide(caller.role))
    throw new Problem(
      403,
      'Forbidden',
      'a viewer only looks',
      'sign in as an operator, or use an API token of the role operator',
    );
}

const isChange = ({ method }: FastifyRequest) => method !== 'GET' && method !== 'HEAD';

/** A browser adds the cookie to what a stranger's page sends as well; what only our page knows is in the header. */
function requireOwnPage(
  { session, csrf, person }: Caller,
  { headers }: FastifyRequest,
  sessions: Pick<Sessions, 'csrfOfPerson'>,
): void {
  if (csrf === undefined) return;
  const sent = headers[csrfHeader];
  const good = session === undefined ? sessions.csrfOfPerson(nameOf(person)) : [session.csrf];
  if (typeof sent === 'string' && good.some((each) => isEqual(sent, each))) return;
  throw new Problem(
    403,
    'CsrfTokenMissing',
    `the header ${csrfHeader} is missing, or not that of this session`,
    'load the page again; a program uses an API token instead',
  );
}
