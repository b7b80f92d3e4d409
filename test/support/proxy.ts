import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A TCP proxy in front of a port of 127.0.0.1, which can do what networks do. */
export async function startProxy(target: number) {
  const pairs = new Set<readonly [Socket, Socket]>();
  let to = target;
  const server = createServer((socket) => {
    const other = connect(to, '127.0.0.1');
    const pair = [socket, other] as const;
    pairs.add(pair);
    socket.pipe(other).pipe(socket);
    for (const each of pair)
      each
        .on('error', () => {})
        .on('close', () => {
          for (const end of pair) end.destroy();
          pairs.delete(pair);
        });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    /** The connections that stand pass nothing on any more, and are not closed; new ones work. @returns how many there were */
    silence(): number {
      for (const [socket, other] of pairs) {
        socket.unpipe().resume();
        other.unpipe().resume();
      }
      return pairs.size;
    },
    /** New connections lead to another port; those that stand stay. */
    lead(port: number): void {
      to = port;
    },
    /** The connections that stand are closed; new ones work. */
    cut(): void {
      for (const ends of pairs) for (const end of ends) end.destroy();
    },
    async close(): Promise<void> {
      this.cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export type Proxy = Awaited<ReturnType<typeof startProxy>>;
