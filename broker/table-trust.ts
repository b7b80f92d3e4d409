import { createMalformedReport } from '../queue/malformed.ts';
import type { TableTrust } from '../queue/replies.ts';
import type { Log } from '../runtime/log.ts';

/** How often a gateway that has met no table yet looks for one, in milliseconds. */
const lookMs = 1000;
/** How often at most a gateway compares the table of this Redis with its own, and says that they differ. Milliseconds. */
const compareMs = 60_000;
/** For how long a health check is told of another table: workers of two of them publish theirs in turns. Milliseconds. */
const holdMs = 30_000;

const otherTable = 'Redis names another table than the one that this gateway trusts';

type TableTrustOptions = {
  /** what an earlier start pinned */
  readonly pinned: string | undefined;
  /** Pins a key for all later starts. @returns the one that is pinned now */
  pin(publicKey: string): Promise<string>;
  /** the key of the table as Redis has it, which may be anybody's */
  published(): Promise<string | undefined>;
  /** the cure, when the table was replaced */
  readonly cure: string;
  readonly log: Log;
};

/**
 * The table that this gateway trusts: the first that it meets, and no other. A gateway calls no AWS, so it meets the table by
 * way of Redis. From then on a writer of Redis cannot speak for the table.
 */
export function createTableTrust({ pinned, pin, published, cure, log }: TableTrustOptions) {
  const reportMalformed = createMalformedReport(log);
  let key = pinned;
  let timer: NodeJS.Timeout | undefined;
  let comparedAt = Number.NEGATIVE_INFINITY;

  async function meet(): Promise<string | undefined> {
    if (key !== undefined) return key;
    const found = await published();
    if (found === undefined || key !== undefined) return key;
    key = await pin(found);
    clearInterval(timer);
    log.warn(
      { table: key },
      'this gateway has met its table, and trusts no other from now on: cvm tls gateways tells whether it is yours',
    );
    return key;
  }

  const meetLater = () =>
    void meet().catch((err: unknown) => log.debug({ err }, 'the gateway has not met its table yet; it tries again'));

  let otherAt = Number.NEGATIVE_INFINITY;
  const isOther = (found: string | undefined) => found !== undefined && key !== undefined && found !== key;

  /** Whether the table was replaced, or a writer of Redis pretends it was, only a person can tell. */
  async function compare(): Promise<void> {
    const found = await published();
    if (isOther(found)) log.error({ trusted: key, found, cure }, otherTable);
  }

  const trust: TableTrust = {
    key: () => key,
    meet,
    reportUnsigned(what) {
      reportMalformed(`${what} that the table did not sign`);
      const now = performance.now();
      if (now - comparedAt < compareMs) return;
      comparedAt = now;
      compare().catch((err: unknown) => log.debug({ err }, 'the table of this Redis could not be read'));
    },
  };
  return {
    ...trust,
    /** For a health check: no answer that another table has signed is delivered. */
    async trouble(): Promise<string | undefined> {
      if (isOther(await published().catch(() => undefined))) otherAt = performance.now();
      return performance.now() - otherAt < holdMs ? `${otherTable}: ${cure}` : undefined;
    },
    name: 'table trust',
    start(): void {
      meetLater();
      timer = setInterval(meetLater, lookMs);
      timer.unref();
      if (key !== undefined) clearInterval(timer);
    },
    async close(): Promise<void> {
      clearInterval(timer);
    },
  };
}
