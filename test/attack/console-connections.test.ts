import { connect, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startTestConsole, type TestConsole } from '../support/console.ts';

describe('connections to the console', () => {
  let console: TestConsole;
  let sockets: TLSSocket[];
  beforeEach(async () => {
    sockets = [];
    console = await startTestConsole({ deps: { connectionLimits: { all: 12, ofAddress: 6, newOfAddress: 100 } } });
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    await console.close();
  });

  /** From another address of this machine. */
  const open = (localAddress: string, headers = '') =>
    new Promise<TLSSocket>((resolve) => {
      const to = { host: '127.0.0.1', port: console.port, ca: console.ca, servername: 'localhost', localAddress };
      const socket = connect(to, () => {
        socket.write(`GET /nothing HTTP/1.1\r\nhost: localhost\r\n${headers}\r\n`);
      });
      sockets.push(socket);
      socket.on('data', () => resolve(socket));
      socket.on('error', () => {});
      socket.on('close', () => resolve(socket));
    });
  const openOf = (some: readonly TLSSocket[]) =>
    some.filter(({ destroyed, readyState }) => !destroyed && readyState === 'open').length;

  it('of one address are so many and no more, and others are served', async () => {
    const flood = [];
    for (let number = 0; number < 10; number++) flood.push(await open('127.0.0.2'));
    expect(openOf(flood)).toBe(6);
    expect(openOf([await open('127.0.0.3')])).toBe(1);
  });

  it('of strangers at many addresses, which take all places, give way to others, and not who is signed in', async () => {
    const { cookie } = await console.browser();
    const signedIn = await open('127.0.0.1', `cookie: ${cookie}\r\n`);
    // a page that is there needs no caller: the API knows who it is
    signedIn.write(`GET /api/v1/devices HTTP/1.1\r\nhost: localhost\r\ncookie: ${cookie}\r\n\r\n`);
    await new Promise((resolve) => signedIn.once('data', resolve));
    for (let number = 0; number < 40; number++) await open(`127.0.1.${number + 1}`);
    expect(openOf([signedIn])).toBe(1);
    expect(openOf([await open('127.0.0.9')])).toBe(1);
    expect((await console.call('/nothing')).status).toBe(404);
  });

  it('are begun by one address no faster than that costs little, and it gets no TLS handshake; others do', async () => {
    const paced = await startTestConsole({ deps: { connectionLimits: { all: 50, ofAddress: 40, newOfAddress: 30 } } });
    try {
      const handshake = (localAddress: string) =>
        new Promise<boolean>((resolve) => {
          const to = { host: '127.0.0.1', port: paced.port, ca: paced.ca, servername: 'localhost', localAddress };
          const socket = connect(to, () => {
            socket.destroy();
            resolve(true);
          });
          socket.on('error', () => resolve(false));
          socket.on('close', () => resolve(false));
        });
      // all at once: one after the other, a slow machine takes longer than the time in which they are counted
      const answered = await Promise.all(Array.from({ length: 40 }, () => handshake('127.0.0.2')));
      expect(answered.filter(Boolean).length).toBe(30);
      expect(await handshake('127.0.0.3')).toBe(true);
    } finally {
      await paced.close();
    }
  });
});
