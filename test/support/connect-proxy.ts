import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

/** How the proxy treats the next tunnels. A number: the status with which it refuses them. */
type Manner = 'works' | 'silent' | 'hangs-up' | number;

/**
 * An HTTP proxy that makes tunnels (CONNECT), all of them to one port of this machine: the hosts that its clients name
 * exist nowhere, so nothing can reach them but through it.
 */
export async function startConnectProxy(port: number, credentials?: { user: string; password: string }) {
  const asked: string[] = [];
  const open = new Set<Socket>();
  let manner: Manner = 'works';
  const expected =
    credentials && `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`).toString('base64')}`;
  const server = createServer((_request, response) => response.writeHead(400).end());
  server.on('connection', (socket) => {
    open.add(socket);
    socket.on('error', () => {}).on('close', () => open.delete(socket));
  });
  server.on('connect', (request, socket, head) => {
    asked.push(request.url ?? '');
    if (manner === 'silent') return;
    if (manner === 'hangs-up') return socket.destroy();
    const allowed = expected === undefined || request.headers['proxy-authorization'] === expected;
    const status = allowed ? manner : 407;
    if (status !== 'works') return socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 5\r\n\r\nno no`);
    const other = connect(port, '127.0.0.1');
    open.add(other);
    other.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.on('error', () => {}).on('close', () => other.destroy());
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    other.write(head);
    other.pipe(socket).pipe(other);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    /** without user and password */
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** the `host:port` of each tunnel that was asked for */
    asked,
    become(next: Manner): void {
      manner = next;
    },
    async close(): Promise<void> {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export type ConnectProxy = Awaited<ReturnType<typeof startConnectProxy>>;
