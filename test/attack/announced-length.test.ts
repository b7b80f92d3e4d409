import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('a packet that announces 256 MiB', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('closes the connection before its body, whoever announces it', async () => {
    const before = process.memoryUsage().rss;
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
    expect(gateway.logText()).toContain('268435455 bytes');
    // a single body that was collected would be four times that
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  });
});
