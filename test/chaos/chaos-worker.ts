import { createApp } from '../../app/app.ts';
import { redisOf } from '../../app/redis.ts';
import { connectWorker, startProvisioning, startRosterKeeping } from '../../app/worker.ts';
import { noAudit } from '../../runtime/audit.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { createCrasher } from './crash-points.ts';
import { freezeAt } from './freezer.ts';

/**
 * The real worker on real ports, one request at a time unless CVM_WORKER_CONCURRENCY says otherwise. It crashes at the point
 * that the serial names, and freezes at the point that is set for the token; `CHAOS_MAX_BACKOFF_MS` shortens its backoff.
 */
const settings = loadSettings({ CVM_WORKER_CONCURRENCY: '1', ...process.env });
const app = createApp(settings, createLog(settings.logLevel));
const folder = process.env.CHAOS_FOLDER ?? '';
const crash = createCrasher('worker', folder);
let serial: string | undefined;
let tokenHash: string | undefined;

/** Makes one call of the request that this worker is at. */
async function cross<T>(of: string | undefined, step: string, call: () => Promise<T> | T): Promise<T> {
  freezeAt(folder, tokenHash, { step, moment: 'before' });
  const answer = await crash(of, step, call);
  freezeAt(folder, tokenHash, { step, moment: 'after' });
  return answer;
}

const redis = redisOf(settings);
const deps = connectWorker(app, redis);
const { registry } = deps.table;
const { issuer, replies, earlierReplies, seen, wrongTokens } = deps;
const maxBackoffMs = process.env.CHAOS_MAX_BACKOFF_MS;

startProvisioning(
  app,
  redis,
  {
    audit: noAudit,
    sightings: deps.sightings,
    seen,
    earlierReplies,
    wrongTokens,
    gateways: deps.gateways,
    governor: deps.governor,
    table: {
      ...deps.table,
      registry: {
        ...registry,
        claim(request) {
          serial = request.serial;
          tokenHash = request.tokenHash;
          return cross(serial, 'claim', () => registry.claim(request));
        },
        recordCertificate: (...given) => cross(serial, 'record', () => registry.recordCertificate(...given)),
        finish: (...given) => cross(serial, 'finish', () => registry.finish(...given)),
        acknowledge(...given) {
          serial = given[0];
          tokenHash = undefined;
          return cross(serial, 'acknowledge', () => registry.acknowledge(...given));
        },
      },
    },
    issuer: {
      ...issuer,
      ensureThing: (...given) => cross(serial, 'ensureThing', () => issuer.ensureThing(...given)),
      issue: (...given) => cross(serial, 'issue', () => issuer.issue(...given)),
      attach: (...given) => cross(serial, 'attach', () => issuer.attach(...given)),
      activate: (...given) => cross(serial, 'activate', () => issuer.activate(...given)),
    },
    replies: {
      ...replies,
      deliver: (...given) => cross(serial, 'deliver', () => replies.deliver(...given)),
    },
  },
  maxBackoffMs === undefined ? {} : { maxBackoffMs: Number(maxBackoffMs) },
);
// the broker learns the tokens from it
startRosterKeeping(app, redis, deps);
