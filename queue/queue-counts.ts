import { Queue } from 'bullmq';
import type { Log } from '../runtime/log.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { keyPrefix, queueName } from './stored-keys.ts';

/**
 * How many jobs the queue has, by state, as BullMQ's exporter for Prometheus says it (https://docs.bullmq.io/guide/metrics/prometheus). Redis is
 * connected to when this is read first, and not before.
 */
export function createQueueCounts(connector: RedisConnector, log: Log) {
  let opened: { readonly queue: Queue; close(): Promise<void> } | undefined;
  function open() {
    const connection = connector.connect('answer-now', log);
    const queue = new Queue(queueName, { connection, prefix: keyPrefix, skipVersionCheck: true });
    queue.on('error', (err) => log.debug({ err }, 'queue counts'));
    return {
      queue,
      async close() {
        await queue.close().catch((err: unknown) => log.debug({ err }, 'queue counts'));
        await disconnectRedis(connection);
      },
    };
  }
  return {
    name: 'queue counts',
    /** @throws while Redis is away */
    async text(): Promise<string> {
      opened ??= open();
      await opened.queue.waitUntilReady();
      return `${withoutUncounted(await opened.queue.exportPrometheusMetrics())}\n`;
    },
    async close(): Promise<void> {
      await opened?.close();
    },
  };
}

/** Answered jobs are deleted and not counted in Redis, so its totals would be 0 for ever: `cvm_worker_requests_total` has them. */
const withoutUncounted = (text: string) =>
  text
    .split('\n')
    .filter((line) => !/bullmq_job_(completed|failed)_total/.test(line))
    .join('\n');
