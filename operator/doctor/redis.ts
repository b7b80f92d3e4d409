import { bytes } from '../judge-status.ts';
import { type Check, fail, ok, parts, skipped, type Verdict, warn } from './check.ts';
import type { DoctorSources, RedisFactsForChecks } from './sources.ts';

/** The oldest that has what the queue needs. */
const oldestVersion = [6, 2] as const;

/** A part of maxmemory from which on a person should look. */
const fullPart = 0.8;

/** A difference of clocks that is worth a warning, in milliseconds. */
const clockToleranceMs = 300_000;

const check = (
  of: Omit<Check, 'parts' | 'quick' | 'look'>,
  judge: (redis: RedisFactsForChecks, sources: DoctorSources) => Verdict,
): Check => ({
  ...of,
  parts,
  quick: true,
  async look(sources) {
    const read = await sources.redis();
    return ['value' in read ? judge(read.value, sources) : skipped('not known while Redis is away')];
  },
});

export const redisChecks: readonly Check[] = [
  {
    id: 'redis',
    title: 'Redis',
    finds: 'Redis cannot be reached, refuses the password, or takes no writes (a replica, memory or disk full)',
    parts,
    quick: true,
    atStart: false,
    async look({ redis }) {
      const read = await redis();
      const cause = 'requests of devices cannot be stored, so they get no PUBACK';
      if (!('value' in read))
        return [fail({ seen: read.problem, cause, cure: read.cure ?? 'start it, or correct REDIS_URL' })];
      const { trouble, server, where } = read.value;
      return [
        trouble === undefined
          ? ok(`${server} at ${where} takes writes`)
          : fail({ seen: trouble.problem, cause, cure: trouble.cure }),
      ];
    },
  },
  check(
    { id: 'redis-version', title: 'version of Redis', finds: 'Redis older than 6.2', atStart: true },
    ({ version, server }) =>
      isOld(version)
        ? fail({
            seen: server,
            cause: 'the queue needs commands that this version does not have',
            cure: `use Redis or Valkey ${oldestVersion.join('.')} or newer`,
          })
        : ok(server),
  ),
  check(
    {
      id: 'redis-append-only',
      title: 'append-only file of Redis',
      finds: 'Redis keeps requests in memory alone (appendonly no), or writes them to disk too seldom (appendfsync no)',
      atStart: false,
      fixes: true,
    },
    ({ appendOnly, appendFsync }, { mend }) => {
      const cause = 'requests that devices were told are stored are lost when Redis or the machine stops';
      if (!appendOnly)
        return fail({
          seen: 'appendonly no',
          cause,
          cure: 'set appendonly yes in the configuration of Redis; --fix sets it in the running server, and in its file where it has one',
          mend: () => mend.appendOnly(),
        });
      if (appendFsync === 'no')
        return warn({
          seen: 'appendfsync no',
          cause,
          cure: 'set appendfsync always, or at least everysec, in the configuration of Redis',
        });
      return ok(`appendonly yes${appendFsync === undefined ? '' : `, appendfsync ${appendFsync}`}`);
    },
  ),
  check(
    {
      id: 'redis-eviction',
      title: 'maxmemory-policy of Redis',
      finds: 'Redis drops keys when its memory is short (any maxmemory-policy but noeviction)',
      atStart: false,
    },
    ({ maxmemoryPolicy }) =>
      maxmemoryPolicy === 'noeviction'
        ? ok('noeviction')
        : fail({
            seen: `maxmemory-policy ${maxmemoryPolicy}`,
            cause: 'when memory is short, Redis drops requests that devices were told are stored',
            cure: 'set maxmemory-policy noeviction; where others use this Redis as a cache, give the gateway one of its own',
          }),
  ),
  check(
    { id: 'redis-memory', title: 'memory of Redis', finds: 'more than 80 % of maxmemory is used', atStart: true },
    ({ usedBytes, maxBytes }) => {
      if (maxBytes === undefined) return ok(`${bytes(usedBytes)} used, without a limit`);
      const seen = `${bytes(usedBytes)} of ${bytes(maxBytes)} used`;
      return usedBytes > maxBytes * fullPart
        ? warn({
            seen,
            cause: 'when it is full, no request can be stored',
            cure: 'raise maxmemory, or remove what others keep in this Redis',
          })
        : ok(seen);
    },
  ),
  check(
    {
      id: 'redis-disk',
      title: 'disk of Redis',
      finds: 'Redis could not write its append-only file or its snapshot',
      atStart: true,
    },
    ({ diskProblem }) =>
      diskProblem === undefined
        ? ok('its last writes to disk were done')
        : fail({
            seen: diskProblem,
            cause: 'requests that are stored from now on are lost when Redis stops',
            cure: 'free space on the disk of Redis, and see its log',
          }),
  ),
  check(
    {
      id: 'redis-password',
      title: 'password of Redis',
      finds: 'a Redis without a password, which others on the network can reach',
      atStart: true,
    },
    ({ hasPassword, isOnThisMachine, where }) => {
      if (hasPassword === undefined) return skipped('this user may not read it (ACL GETUSER)');
      if (hasPassword) return ok('asked for');
      if (isOnThisMachine) return ok('none; it is reached on this machine only, as far as REDIS_URL says');
      return warn({
        seen: `none at ${where}`,
        cause:
          'every machine that reaches this Redis can remove requests and stop the gateway; certificates and keys stay sealed',
        cure: 'set requirepass (or an ACL user) in the configuration of Redis, and give it in CVM_REDIS_PASSWORD_FILE',
      });
    },
  ),
  check(
    {
      id: 'redis-clock',
      title: 'clock of Redis',
      finds: 'the clocks of Redis and of this machine differ by over five minutes',
      atStart: false,
    },
    ({ time }, { now }) => {
      const offMs = time - now();
      return Math.abs(offMs) <= clockToleranceMs
        ? ok('agrees with that of this machine')
        : fail({
            seen: `the clock of Redis shows ${new Date(time).toISOString()}, that of this machine ${new Date(now()).toISOString()}`,
            cause: 'requests wait too long, or are refused as too old',
            cure: 'set both clocks, best by NTP',
          });
    },
  ),
];

function isOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < oldestVersion[0] || (major === oldestVersion[0] && minor < oldestVersion[1]);
}
