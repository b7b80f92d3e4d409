import { startBroker } from '../../broker/broker.ts';
import { recipientIdOf } from '../../queue/provisioning-request.ts';
import { redisAt } from '../../queue/redis.ts';
import { createReplyFeed } from '../../queue/redis-replies.ts';
import { createRequestQueue } from '../../queue/request-queue.ts';
import { noAudit } from '../../runtime/audit.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { createCrasher } from './crash-points.ts';

/** The real broker on real ports. It crashes at the point that the serial of the device names. */
const settings = loadSettings(process.env);
const log = createLog(settings.logLevel);
const redis = redisAt(settings.redisUrl ?? '');
const cross = createCrasher('broker', process.env.CHAOS_FOLDER ?? '');
const serials = new Map<string, string>();

const { hostnames, machineName, dataDir } = settings;
const tls = await loadTlsMaterial({ dataDir, hostnames, machineName });
const requests = createRequestQueue(redis, log);
const feed = createReplyFeed(redis, log);

await startBroker({
  port: settings.mqttPort,
  listen: settings.listen,
  tls,
  audit: noAudit,
  log,
  requests: {
    ...requests,
    add(request) {
      serials.set(recipientIdOf(request.serial, request.tokenHash), request.serial);
      return cross(request.serial, 'add', () => requests.add(request));
    },
    acknowledge: (ack) => cross(ack.serial, 'acknowledge', () => requests.acknowledge(ack)),
  },
  replies: {
    ...feed,
    listen: (listener, onResume) =>
      feed.listen((reply) => {
        cross(serials.get(reply.recipientId), 'hear', () => listener(reply)).catch(() => {});
      }, onResume),
  },
});
