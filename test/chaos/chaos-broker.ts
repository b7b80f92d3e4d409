import { startBroker } from '../../broker/broker.ts';
import { boxOf } from '../../queue/provisioning-request.ts';
import { createReplyFeed } from '../../queue/redis-replies.ts';
import { createAskQueue } from '../../queue/request-queue.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { createCrasher } from './crash-points.ts';

/** The real broker on real ports, that crashes where the serial of the device that it serves says so. */
const settings = loadSettings(process.env);
const log = createLog(settings.logLevel);
const redisUrl = settings.redisUrl ?? '';
const cross = createCrasher('broker', process.env.CHAOS_FOLDER ?? '');
const serials = new Map<string, string>();

const { hostnames, machineName, dataDir } = settings;
const tls = await loadTlsMaterial({ dataDir, hostnames, machineName });
const asks = createAskQueue(redisUrl, log);
const feed = createReplyFeed(redisUrl, log);

await startBroker({
  port: settings.mqttPort,
  listen: settings.listen,
  tls,
  log,
  asks: {
    ...asks,
    add(ask) {
      serials.set(boxOf(ask.serial, ask.tokenHash), ask.serial);
      return cross(ask.serial, 'add', () => asks.add(ask));
    },
    acknowledge: (ack) => cross(ack.serial, 'acknowledge', () => asks.acknowledge(ack)),
  },
  replies: {
    ...feed,
    listen: (listener, onResume) =>
      feed.listen((reply) => {
        cross(serials.get(reply.box), 'hear', () => listener(reply)).catch(() => {});
      }, onResume),
  },
});
