import { describe, expect, it } from 'vitest';
import { ownerOfSlot } from '../../queue/redis-master.ts';
import { redisPlace, redisPlaceText, redisUrlProblems, withRedisPassword } from '../../runtime/redis-place.ts';

describe('REDIS_URL', () => {
  it.each([
    [
      'redis+sentinel://a:1,b,[fd00::1]:3/mymaster/2',
      {
        by: 'sentinel',
        tls: false,
        ask: [
          { host: 'a', port: 1 },
          { host: 'b', port: 26_379 },
          { host: 'fd00::1', port: 3 },
        ],
        master: 'mymaster',
        database: 2,
      },
    ],
    [
      'rediss+sentinel://me:p%40ss%2F@a/main-1',
      {
        by: 'sentinel',
        tls: true,
        ask: [{ host: 'a', port: 26_379 }],
        username: 'me',
        password: 'p@ss/',
        master: 'main-1',
        database: 0,
      },
    ],
    [
      'rediss+cluster://:secret@n1:7000,n2/',
      {
        by: 'cluster',
        tls: true,
        ask: [
          { host: 'n1', port: 7000 },
          { host: 'n2', port: 6379 },
        ],
        password: 'secret',
      },
    ],
    ['redis://host:6379/3', { by: 'address', url: 'redis://host:6379/3' }],
  ])('names a place: %s', (url, place) => {
    expect(redisUrlProblems(url)).toEqual([]);
    expect(redisPlace(url)).toEqual(place);
  });

  it.each([
    ['http://host', [/must begin with redis:\/\//]],
    ['redis-sentinel://host/0?sentinelMasterId=m', [/spelled in another way here: .*redis\+sentinel/]],
    ['sentinel://host:26379', [/spelled in another way/]],
    ['redis://', [/names no host/]],
    ['redis:///0', [/names no host/]],
    ['redis://a:6379,b:6379', [/names several hosts/]],
    ['redis+sentinel://a:26379', [/must end with the name that the Sentinels have/]],
    ['redis+sentinel://a:99999,b c/', [/a host that is none/, /must end with the name/]],
    ['redis+cluster://a:6379,/1', [/a host that is none/, /only database 0/]],
    ['redis+sentinel://:sec/ret@a/m', [/%2F/]],
    ['redis+cluster://:sec#ret@a', [/%23/]],
    ['redis+cluster://:sec%ret@a', [/%25/]],
  ])('is refused with every problem, and with no part of it: %s', (url, problems) => {
    const found = redisUrlProblems(url);
    expect(found).toHaveLength(problems.length);
    for (const [index, problem] of problems.entries()) expect(found[index]).toMatch(problem);
    expect(found.join()).not.toMatch(/sec.?ret/);
  });

  it('is shown without user and password', () => {
    const shown = ['redis://me:pw@h:6379/0', 'redis+sentinel://me:pw@h/m', 'redis+cluster://me:pw@h'].map((url) =>
      redisPlaceText(withRedisPassword(redisPlace(url), 'more')),
    );
    expect(shown).toEqual(['h:6379', 'm of the Sentinels h:26379', 'the Cluster of h:6379']);
  });
});

describe('the node of a Cluster that has a slot', () => {
  const line = (address: string, flags: string, slots: string) => `id ${address} ${flags} - 0 0 1 connected ${slots}\n`;
  const other = line('10.0.0.1:6379@16379', 'master', '0-99 [5->-other]');

  it.each([
    ['by its address', line('10.0.0.2:6379@16379', 'myself,master', '7 100-200'), { host: '10.0.0.2', port: 6379 }],
    ['by its name', line('10.0.0.2:6379@16379,node-2', 'master', '100-200'), { host: 'node-2', port: 6379 }],
    ['by IPv6', line('fd00::2:6379@16379,,shard-id=x', 'master', '120'), { host: 'fd00::2', port: 6379 }],
    ['unless it is down', line('10.0.0.2:6379@16379', 'master,fail', '100-200'), undefined],
    ['unless it may be down', line('10.0.0.2:6379@16379', 'master,fail?', '100-200'), undefined],
    ['unless none has it', line('10.0.0.2:6379@16379', 'slave', ''), undefined],
  ])('is found %s', (_what, node, address) => {
    expect(ownerOfSlot(other + node, 120)).toEqual(address);
  });
});
