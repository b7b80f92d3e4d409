import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, createSecureContext, type TLSSocket } from 'node:tls';
import { garbageCollector } from './garbage.ts';
import { type ReferenceOrder, sibling } from './tls-reference.ts';

/** Connections that are being made at one time. */
const atOnce = 50;
const warmUp = 300;

const [order] = (await once(process, 'message')) as [ReferenceOrder];
const server = fork(sibling('tls-reference-server'), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
process.once('exit', () => server.kill());
process.once('disconnect', () => process.exit());
server.send(order);
const [port] = (await once(server, 'message')) as [number];
const secureContext = createSecureContext({ ca: order.caPem });
const collectGarbage = garbageCollector();

async function hold(connections: number): Promise<TLSSocket[]> {
  const held: TLSSocket[] = [];
  let left = connections;
  const work = async () => {
    while (left-- > 0) {
      const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', secureContext });
      socket.on('error', () => {}).on('data', () => {});
      socket.once('close', () => {});
      await once(socket, 'secureConnect');
      held.push(socket);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return held;
}

async function release(held: readonly TLSSocket[]): Promise<void> {
  for (const socket of held) socket.destroy();
  await sleep(50);
}

await release(await hold(warmUp));
collectGarbage();
const before = process.memoryUsage.rss();
const cpu = process.cpuUsage();
const held = await hold(order.connections);
const opened = process.cpuUsage(cpu);
collectGarbage();
const rssBytes = (process.memoryUsage.rss() - before) / order.connections;
const closing = process.cpuUsage();
await release(held);
const closed = process.cpuUsage(closing);
const cpuMs = (opened.user + opened.system + closed.user + closed.system) / 1000 / order.connections;
process.send?.({ cpuMs: Number(cpuMs.toFixed(3)), rssBytes: Math.round(rssBytes), connections: order.connections });
