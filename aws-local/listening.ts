import type { Server } from 'node:net';
import type { Logger } from './logger.ts';

/** @returns the port @throws when it cannot be taken */
export async function listenAt(server: Server, port: number, host: string, log: Logger): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve(void server.off('error', reject)));
  });
  // the system may refuse one later, when memory is short, say; unheard, that would end the process
  server.on('error', (err) => log.error({ err }, 'a connection could not be accepted'));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}
