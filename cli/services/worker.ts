import { examineAtStart } from '../../app/examine-at-start.ts';
import { claimStores } from '../../app/formats.ts';
import { serveMonitoring } from '../../app/monitoring-port.ts';
import { redisOf } from '../../app/redis.ts';
import { withTracing } from '../../app/tracing.ts';
import { startWorkerPart } from '../../app/worker.ts';
import type { CommandLine } from '../command-line.ts';
import { findAws } from '../stand-in.ts';

export const runWorker = (serve: CommandLine['serve']) =>
  serve(async (app) => {
    const redis = redisOf(app.settings);
    await serveMonitoring(app, app.settings.monitoring.worker, 'CVM_WORKER_METRICS_PORT');
    const found = await findAws(app, (remark) => app.log.warn(remark));
    await claimStores(found.app, redis, 'gateway');
    startWorkerPart(await withTracing(found.app, 'cvm-worker'), redis);
    examineAtStart(found.app, redis, ['worker']);
  });
