import type { Socket } from 'node:net';

/** Connections without a slot that have sent no byte yet. At most `most` of them are kept: a newer one closes the oldest. */
export function createSilentConnections(most: number) {
  /** oldest first */
  const silent = new Set<Socket>();
  return {
    add(socket: Socket): void {
      const [oldest] = silent;
      if (silent.size >= most) oldest?.destroy();
      silent.add(socket);
      socket.once('close', () => silent.delete(socket));
    },
    /** It has spoken. */
    leave: (socket: Socket): void => void silent.delete(socket),
  };
}
