import { createApp } from '../../app/app.ts';
import { connectQueue, loadIdentity, loadTls, serveDevices } from '../../app/broker.ts';
import { redisOf } from '../../app/redis.ts';
import { recipientIdOf } from '../../queue/provisioning-request.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { unguarded } from '../support/unguarded.ts';
import { createCrasher } from './crash-points.ts';

/** The real broker on real ports. It crashes at the point that the serial of the device names. */
const settings = loadSettings(process.env);
const app = createApp(settings, createLog(settings.logLevel));
const cross = createCrasher('broker', process.env.CHAOS_FOLDER ?? '');
const serials = new Map<string, string>();
const redis = redisOf(settings);
const { requests, replies, ...rest } = connectQueue(app, redis, await loadIdentity(app, redis));

await serveDevices(
  app,
  {
    ...unguarded,
    ...rest,
    requests: {
      ...requests,
      add(request) {
        serials.set(recipientIdOf(request.serial, request.tokenHash), request.serial);
        return cross(request.serial, 'add', () => requests.add(request));
      },
      acknowledge: (ack) => cross(ack.serial, 'acknowledge', () => requests.acknowledge(ack)),
    },
    replies: {
      ...replies,
      listen: (listener, onResume, isWanted) =>
        replies.listen(
          (reply) => {
            cross(serials.get(reply.recipientId), 'hear', () => listener(reply)).catch(() => {});
          },
          onResume,
          isWanted,
        ),
    },
  },
  await loadTls(app),
);
