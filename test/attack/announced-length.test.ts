import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { within } from '../../runtime/deadline.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith } from '../support/raw-mqtt.ts';

const mib = 2 ** 20;
/** The bytes that V8 and the buffers outside of its heap hold. */
const held = () => {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

describe.skipIf(lacks('redis-server'))('a packet that announces 256 MiB', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('closes the connection before its body, with and without a token', async () => {
    const attempts = Array.from({ length: 100 }, async () => {
      const { port, caPem: ca } = gateway.broker;
      const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca });
      socket.on('error', () => {});
      await new Promise<void>((resolve) => socket.once('secureConnect', () => resolve()));
      const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      socket.write(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]));
      await ended;
    });
    await Promise.all(attempts);
    expect(gateway.logText()).toContain('268435460 bytes was announced; at most 2048 are taken');
  });

  it('closes the connection after CONNECT as well, and no body is kept in memory', async () => {
    const bodyBytes = 48 * mib;
    const chunk = Buffer.alloc(64 * 1024);
    const served = await connectDevice(gateway.broker);
    const before = held();
    let peak = 0;
    const watch = setInterval(() => {
      peak = Math.max(peak, held() - before);
    }, 5);
    const sent = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const { socket, send, next, closed } = await connectRaw(gateway.broker);
        send(connectWith('sends-a-lot'));
        await next(2);
        // a PUBLISH in chunks that the kernel and TLS take at once, so that none of it waits in this process
        send(Buffer.from([0x32, 0xff, 0xff, 0xff, 0x7f, 0, 13]), Buffer.from('cvm/request/x'));
        let written = 0;
        while (written < bodyBytes && !socket.closed) {
          written += chunk.length;
          if (!socket.write(chunk))
            await Promise.race([closed, new Promise((resolve) => socket.once('drain', resolve))]);
        }
        await within(45_000, 'cutting', closed).finally(() => socket.destroy());
        return written;
      }),
    );
    clearInterval(watch);
    // the kernel may have taken a part of the body, never all of it
    expect(Math.max(...sent)).toBeLessThan(bodyBytes / 2);
    expect(peak).toBeLessThan(64 * mib);
    expect(gateway.logText()).toContain('at most 16384 are taken');
    expect(served.client.connected).toBe(true);
    await served.client.endAsync(true);
  });
});
