import type { Socket } from 'node:net';

/** Keeps connections that hold no slot, and have not said yet what they need one for: at most so many, the oldest is closed for a newer one. */
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
