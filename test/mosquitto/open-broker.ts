import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Aedes } from 'aedes';
import { defaultLimits } from '../../broker/limits.ts';
import { FrameGuard } from '../../broker/listener/frame-guard.ts';
import { aedesLimits } from '../../broker/mqtt/aedes-broker.ts';

const noPace = { take: () => true, wait() {}, stop() {} };

/** The frame guard and aedes as in the product, without TLS and with no hook: every client may do all that MQTT 3.1.1 knows. */
export async function startOpenBroker() {
  // a hook of the product gives each connection a client id of its own, however long that of the client is
  const aedes = new Aedes({ ...aedesLimits(defaultLimits), maxClientsIdLength: 65_535 });
  aedes.on('clientReady', ({ conn }) => (conn as FrameGuard).connected());
  await aedes.listen();
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket.once('close', () => sockets.delete(socket)).on('error', () => {}));
    aedes.handle(new FrameGuard(socket, defaultLimits, noPace, () => {}));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await new Promise<void>((resolve) => aedes.close(resolve));
    },
  };
}
