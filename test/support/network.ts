import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const given = new Set<number>();

/** Each process of the test run takes its ports from a part of its own: another one may choose the same before a server listens on it. */
const [firstPort, parts, portsOfPart] = [20_000, 8, 1500];
const ownPart = Number(process.env.VITEST_POOL_ID ?? 0) % parts;

/**
 * A port of 127.0.0.1 that is free now, and that this process was not given before. Not from the range for outgoing
 * connections: a client that keeps trying to reach a part that is down would sooner or later hold the part's port.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = firstPort + ownPart * portsOfPart + Math.floor(Math.random() * portsOfPart);
    if (given.has(port)) continue;
    given.add(port);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** Whether a server listens on this port of 127.0.0.1. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Whether this URL answers with a status from 200 to 299. */
export const answers = (url: string): Promise<boolean> =>
  fetch(url).then(
    ({ ok }) => ok,
    () => false,
  );

/** Resolves when `holds` does. @throws after `forMs` */
export async function until(holds: () => Promise<boolean>, forMs: number, what: string): Promise<void> {
  for (const deadline = Date.now() + forMs; !(await holds()); await sleep(20))
    if (Date.now() > deadline) throw new Error(`not within ${forMs} ms: ${what}`);
}
