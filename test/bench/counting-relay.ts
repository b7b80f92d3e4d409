import { connect, createServer, type Socket } from 'node:net';

/** What went through a relay since it was opened, in bytes of TCP payload; both ways, TLS included. */
export type Counted = {
  readonly fromDevice: number;
  readonly toDevice: number;
  /** of TLS, both ways */
  readonly records: number;
};

/** TLS record: type, version (2 bytes), length (2 bytes), body (RFC 5246, 6.2; RFC 8446, 5.1). */
const headerBytes = 5;

/** A relay of 127.0.0.1 in front of a port, that looks at nothing but lengths. */
export async function openRelay(target: number) {
  const ways = { up: new RecordCounter(), down: new RecordCounter() };
  const sockets = new Set<Socket>();
  const pass = (from: Socket, to: Socket, counter: RecordCounter) => {
    sockets.add(from);
    from.on('data', (chunk: Buffer) => {
      counter.add(chunk);
      to.write(chunk);
    });
    from.on('end', () => to.end()).on('error', () => to.destroy());
  };
  const server = createServer({ allowHalfOpen: true }, (device) => {
    const gateway = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    device.setNoDelay(true);
    pass(device, gateway, ways.up);
    pass(gateway, device, ways.down);
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the relay has no port');
  return {
    port: address.port,
    counted: (): Counted => ({
      fromDevice: ways.up.bytes,
      toDevice: ways.down.bytes,
      records: ways.up.records + ways.down.records,
    }),
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

class RecordCounter {
  bytes = 0;
  records = 0;
  #rest: Buffer = Buffer.alloc(0);

  add(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= headerBytes) {
      const length = headerBytes + this.#rest.readUInt16BE(3);
      if (this.#rest.length < length) return;
      this.records++;
      this.#rest = this.#rest.subarray(length);
    }
  }
}
