import { createHash, createHmac, randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { SessionStore } from '../queue/console-sessions.ts';
import { isEqual } from './equal.ts';
import { roles } from './roles.ts';

/** A session ends after the first time without use, and after the second in any case. Its use is written down once in `touchMs`. Milliseconds. */
const [idleMs, longestMs, touchMs] = [30 * 60_000, 12 * 3_600_000, 60_000];

/** How long the token of a page is good for that a reverse proxy signs in: so long, and as long again. Milliseconds. */
const pageMs = longestMs;

const stored = z.object({
  person: z.string().max(200),
  role: z.enum(roles),
  /** of the password that opened it */
  mark: z.string().max(64),
  /** epoch milliseconds */
  openedAt: z.number(),
});

export type Session = z.infer<typeof stored>;
export type OpenSession = Session & {
  readonly hashedId: string /** what a page sends with each change */;
  readonly csrf: string;
};

/**
 * Sessions of browsers. The browser has 256 random bits; Redis has the session under their hash, signed with a key of the data folder. So a reader
 * of Redis cannot use a session, and a writer cannot make one. Every sign-in makes a new id, so an id that an attacker planted in the browser is of
 * no use.
 */
export function createSessions({
  store,
  key,
  now,
}: {
  readonly store: SessionStore;
  readonly key: Buffer;
  now(): number;
}) {
  const touched = new Map<string, number>();

  const macOf = (...parts: readonly string[]) => createHmac('sha256', key).update(parts.join('\0')).digest('base64url');
  const csrfOf = (id: string) => macOf('csrf', id);

  function parse(hashedId: string, text: string): Session | undefined {
    const at = text.lastIndexOf('.');
    const [body, mac] = [text.slice(0, at), text.slice(at + 1)];
    if (!isEqual(mac, macOf('session', hashedId, body))) return undefined;
    try {
      return stored.parse(JSON.parse(body));
    } catch {
      return undefined;
    }
  }

  /** Writes down that it is used, a few times in its life. */
  async function touch(hashedId: string, openedAt: number): Promise<void> {
    const time = now();
    if (time - (touched.get(hashedId) ?? 0) < touchMs) return;
    if (touched.size > 1000) touched.clear();
    touched.set(hashedId, time);
    await store.touch(hashedId, Math.max(1, Math.min(idleMs, openedAt + longestMs - time)));
  }

  return {
    /**
     * The name of the cookie. `__Host-`: of this host alone, for all of its paths, by TLS only (RFC 6265bis, 4.1.3.2). A browser does not tell
     * the ports of a host apart (RFC 6265, 8.5), so two gateways behind two tunnels at localhost would sign each other out, and each would be
     * sent the other's session: the rest of the name is of this data folder.
     */
    cookie: `__Host-cvm-console-${macOf('name of the cookie').slice(0, 8)}`,
    /** @returns what the browser keeps */
    async open(session: Omit<Session, 'openedAt'>): Promise<{ readonly id: string; readonly csrf: string }> {
      const id = randomBytes(32).toString('base64url');
      const body = JSON.stringify({ ...session, openedAt: now() } satisfies Session);
      const hashedId = hashOf(id);
      await store.write(hashedId, `${body}.${macOf('session', hashedId, body)}`, idleMs);
      return { id, csrf: csrfOf(id) };
    },
    /** Undefined for an id of no session, and for one that is over. @param use whether it lasts longer for it @throws when Redis is away */
    async find(id: string, use = true): Promise<OpenSession | undefined> {
      if (!idPattern.test(id)) return undefined;
      const hashedId = hashOf(id);
      const text = await store.read(hashedId);
      const session = text === undefined ? undefined : parse(hashedId, text);
      if (session === undefined) return undefined;
      const age = now() - session.openedAt;
      if (age > longestMs || age < -longestMs) return undefined;
      if (use) await touch(hashedId, session.openedAt);
      return { ...session, hashedId, csrf: csrfOf(id) };
    },
    /** What a page sends with each change whose person a reverse proxy names: the present one, and the one before. */
    csrfOfPerson(person: string): readonly [present: string, before: string] {
      const period = Math.floor(now() / pageMs);
      const of = (each: number) => macOf('csrf of a person', person, String(each));
      return [of(period), of(period - 1)];
    },
    /** Keeps a session alive without an action of its person, up to its longest time. */
    keep: ({ hashedId, openedAt }: OpenSession) => touch(hashedId, openedAt),
    async end(id: string): Promise<void> {
      if (idPattern.test(id)) await store.end(hashOf(id));
    },
  };
}

export type Sessions = ReturnType<typeof createSessions>;

const idPattern = /^[A-Za-z0-9_-]{43}$/;
const hashOf = (id: string) => createHash('sha256').update(id).digest('hex');
