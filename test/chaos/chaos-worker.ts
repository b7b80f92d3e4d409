import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { createAwsIssuer } from '../../issuer/aws-iot.ts';
import { amazonRootCa } from '../../issuer/root-ca.ts';
import { redisAt } from '../../queue/redis.ts';
import { createReplyStore } from '../../queue/redis-replies.ts';
import { createDynamoRegistry } from '../../registry/dynamodb.ts';
import { noAudit } from '../../runtime/audit.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { sealer } from '../../sealing/replies.ts';
import { makeEcKey, ownerTagOf } from '../../worker/ec-key.ts';
import { startWorker } from '../../worker/worker.ts';
import { createCrasher } from './crash-points.ts';

/**
 * The real worker on real ports, one request at a time. It crashes at the point that the serial names;
 * `CHAOS_MAX_BACKOFF_MS` shortens its backoff.
 */
const settings = loadSettings(process.env);
const log = createLog(settings.logLevel);
const redis = redisAt(settings.redisUrl ?? '');
const cross = createCrasher('worker', process.env.CHAOS_FOLDER ?? '');
let serial: string | undefined;

const registry = createDynamoRegistry(new DynamoDBClient({}), settings.table);
const issuer = createAwsIssuer({ log });
const replies = createReplyStore(redis, log);
const maxBackoffMs = process.env.CHAOS_MAX_BACKOFF_MS;

startWorker({
  redis,
  concurrency: Number(process.env.CHAOS_CONCURRENCY ?? 1),
  audit: noAudit,
  log,
  ...(maxBackoffMs === undefined ? {} : { maxBackoffMs: Number(maxBackoffMs) }),
  context: {
    registry: {
      ...registry,
      claim(request) {
        serial = request.serial;
        return cross(serial, 'claim', () => registry.claim(request));
      },
      recordCreateIntent: (...given) => cross(serial, 'intend', () => registry.recordCreateIntent(...given)),
      recordCertificate: (...given) => cross(serial, 'record', () => registry.recordCertificate(...given)),
      finish: (...given) => cross(serial, 'finish', () => registry.finish(...given)),
      acknowledge(...given) {
        serial = given[0];
        return cross(serial, 'acknowledge', () => registry.acknowledge(...given));
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
      keep: (...given) => cross(serial, 'keep', () => replies.keep(...given)),
      deliver: (...given) => cross(serial, 'deliver', () => replies.deliver(...given)),
      erase: (...given) => cross(serial, 'erase', () => replies.erase(...given)),
    },
    rootCaPem: amazonRootCa(settings.rootCaFile),
    policyName: settings.policyName,
    replayWindowMs: settings.replayWindowMs,
    leaseMs: 10_000,
    now: Date.now,
    makeKey: (name) => makeEcKey(name, ownerTagOf(settings.table)),
    seal: sealer,
  },
});
