import { describe, expect, it } from 'vitest';
import { createQueueErrorLog } from '../../queue/queue-errors.ts';
import type { Log } from '../../runtime/log.ts';

function replyError(message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' });
}
const full = (script: string) =>
  replyError(`OOM command not allowed when used memory > 'maxmemory'. script: ${script}, on @user_script:1.`);

describe('what Redis refuses the queue', () => {
  const logged: string[] = [];
  const at = (level: string) => (of: unknown, text?: string) => void logged.push(`${level} ${text ?? of}`);
  const log = { error: at('error'), debug: at('debug'), info: at('info') } as unknown as Log;

  it('is said once with its cure, by whichever script it comes, and again only when it is another or comes back', () => {
    const errors = createQueueErrorLog(log);
    const saidNow = () => logged.splice(0).filter((line) => !line.startsWith('debug'));
    for (let turn = 0; turn < 10; turn++) for (const script of ['a1', 'b2', 'c3']) errors.failed(full(script));
    expect(saidNow()).toEqual([expect.stringMatching(/^error The memory of Redis is full.*raise its maxmemory/)]);
    errors.failed(replyError('NOPERM this user has no permissions'));
    errors.failed(full('a1'));
    errors.failed(new Error('Connection is closed.'));
    expect(saidNow()).toEqual([expect.stringMatching(/^error The user of REDIS_URL may not/)]);
    errors.worked();
    errors.worked();
    expect(saidNow()).toEqual(['info the queue works again']);
    errors.failed(full('b2'));
    expect(saidNow()).toHaveLength(1);
  });

  it('is bounded: a Redis that words each answer anew fills no log', () => {
    const errors = createQueueErrorLog(log);
    for (let turn = 0; turn < 100; turn++) errors.failed(replyError(`ERR something ${turn}`));
    expect(logged.splice(0).filter((line) => line.startsWith('error'))).toHaveLength(20);
  });
});
