import type { Log } from '../runtime/log.ts';
import { redisCure } from './redis-cure.ts';

/** Errors of different texts without a known cure that are said until one job is done. */
const saidAtMost = 20;

/**
 * Says what Redis answers to BullMQ's commands in place of doing them: memory is full, a command is not permitted. The connection logs outages, and not
 * these. BullMQ tries again every few seconds by one script or another, and each script words the same refusal in its own way. So each cure is said once until
 * a job was done again, which writes to Redis.
 */
export function createQueueErrorLog(log: Log) {
  const said = new Set<string>();
  return {
    failed(err: Error): void {
      const cure = redisCure(err);
      const kind = cure ?? err.message;
      const isNew = err.name === 'ReplyError' && !said.has(kind) && said.size < saidAtMost;
      if (isNew) said.add(kind);
      log[isNew ? 'error' : 'debug']({ err }, cure ?? 'the queue reports an error');
    },
    worked(): void {
      if (said.size > 0) log.info('the queue works again');
      said.clear();
    },
  };
}
