import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server as NetServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createSecureServer, type Server, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { boundedBelow, handOverBounded, handshakeTooLong } from '../../broker/listener/bounded-handshake.ts';

const most = 1000;

/** In the place of TLS, a listener that ends its handshake with a byte of 1. */
describe('what TLS gets of a client until its handshake has ended', () => {
  let listener: NetServer;
  let client: Socket;
  let got: Buffer;
  let stream: Duplex | undefined;
  let error: NodeJS.ErrnoException | undefined;

  beforeEach(async () => {
    [got, stream, error] = [Buffer.alloc(0), undefined, undefined];
    const server = createSecureServer();
    server.removeAllListeners('connection');
    server.on('connection', function (this: Server, below: Duplex) {
      stream = below;
      below.on('error', (thrown) => {
        error = thrown;
      });
      below.on('data', (bytes: Buffer) => {
        got = Buffer.concat([got, bytes]);
        if (bytes.includes(1)) boundedBelow({ server: this } as unknown as TLSSocket)?.handshakeEnded();
      });
    });
    listener = createServer((socket) => handOverBounded(server, socket, most)).listen(0, '127.0.0.1');
    await once(listener, 'listening');
    client = connect((listener.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
  });
  afterEach(() => {
    client.destroy();
    listener.close();
  });

  it('is no byte more than the limit, in one piece or in many, and the connection ends', async () => {
    const closed = once(client.resume(), 'close');
    for (let sent = 0; sent < 5; sent++) client.write(Buffer.alloc(most / 2 + 1));
    await closed;
    expect(got.length).toBe(most);
    expect(error?.code).toBe(handshakeTooLong);
  });

  it('is as much as the limit, for as long as it takes', async () => {
    client.write(Buffer.alloc(most));
    await expect.poll(() => got.length).toBe(most);
    client.write(Buffer.from([1]));
    await expect.poll(() => error?.code).toBe(handshakeTooLong);
  });

  it('does not limit what follows the handshake, also in the same piece: all of it comes, in its order', async () => {
    const handshake = Buffer.alloc(most - 100);
    handshake[most - 101] = 1;
    const rest = Buffer.alloc(300_000, 7);
    client.write(Buffer.concat([handshake, rest]));
    await expect.poll(() => got.length).toBe(handshake.length + rest.length);
    client.write(rest);
    await expect.poll(() => got.length).toBe(handshake.length + 2 * rest.length);
    expect(got.equals(Buffer.concat([handshake, rest, rest]))).toBe(true);
  });

  it('ends with the connection, from either side', async () => {
    const text = once(client, 'data');
    await expect.poll(() => stream).toBeDefined();
    stream?.end('bye');
    expect((await text)[0].toString()).toBe('bye');
    client.end();
    await expect.poll(() => stream?.destroyed).toBe(true);
    expect(error).toBeUndefined();
  });
});
