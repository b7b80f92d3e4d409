import { setTimeout as sleep } from 'node:timers/promises';
import { connect, createSecureContext, type SecureContext } from 'node:tls';
import type { Credential } from '../../gateway-sim/device.ts';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import type { Figure } from '../chaos/figures.ts';
import { startSite } from '../chaos/site.ts';
import { connectWith, packetReader, publishOf, subscribeTo } from '../support/raw-mqtt.ts';
import { percentile } from './welch.ts';

/**
 * How long a device waits for the PUBACK of its request on one connection; how long it then waits on that connection for its
 * certificate, and how long it goes on trying. AWS's quotas decide how fast certificates come. Milliseconds.
 */
const [patienceMs, triesForMs] = [30_000, 240_000];

/** The roster has the new devices after two polls. */
const rosterMs = 5000;

type Target = { readonly port: number; readonly tls: SecureContext };
type Served = { readonly tries: number; readonly storedMs: number; readonly ms: number };

/** Many honest devices behind one address (a router with NAT, a balancer) come within one second, as after a power cut. */
export async function burst({ devices }: { devices: number }, say: (line: string) => void): Promise<Figure[]> {
  const site = await startSite({ workers: 1, env: { LOG_LEVEL: 'warn', MALLOC_ARENA_MAX: '2' } });
  try {
    const enrolled = await site.enrol(Array.from({ length: devices }, (_, index) => `burst-${index}`));
    await sleep(rosterMs);
    const target = { port: site.gateway.port, tls: createSecureContext({ ca: site.gateway.caPem }) };
    const outcomes = await Promise.all(
      enrolled.map(async (device, index) => {
        await sleep((index * 1000) / devices);
        return untilServed(target, device);
      }),
    );
    const served = outcomes.filter((outcome) => outcome !== undefined);
    const atFirst = served.filter(({ tries }) => tries === 1).length;
    const stored = served.map(({ storedMs }) => storedMs);
    const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
    say(
      `request stored: half after ${seconds(percentile(stored, 0.5))}, the last after ${seconds(Math.max(0, ...stored))}`,
    );
    say(`last certificate after ${seconds(Math.max(0, ...served.map(({ ms }) => ms)))}`);
    return [
      {
        name: `served at their first connect: ${devices} devices behind one address, within one second`,
        value: `${((100 * atFirst) / devices).toFixed(1)} %`,
        goal: '≥ 95 %',
        holds: atFirst >= 0.95 * devices,
      },
      {
        name: 'of them never served',
        value: String(devices - served.length),
        goal: '0',
        holds: served.length === devices,
      },
    ];
  } finally {
    await site.close();
  }
}

async function untilServed(target: Target, device: Credential): Promise<Served | undefined> {
  const started = performance.now();
  for (let tries = 1; performance.now() - started < triesForMs; tries++) {
    const storedMs = await ask(target, device, started);
    if (storedMs !== undefined) return { tries, storedMs, ms: performance.now() - started };
    await sleep(1000 + 2000 * Math.random());
  }
  return undefined;
}

/**
 * One connect of a device that does not wait for CONNACK. @returns once it has its certificate: when its request was stored;
 * undefined when the connection closed before that, or its patience ended
 */
function ask(
  { port, tls: secureContext }: Target,
  { serial, token }: Credential,
  started: number,
): Promise<number | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', secureContext });
    let storedMs: number | undefined;
    let timer = setTimeout(end, patienceMs);
    function end(served?: number): void {
      clearTimeout(timer);
      socket.destroy();
      resolve(served);
    }
    socket.on('error', () => {}).once('close', () => end());
    socket.once('secureConnect', () => {
      const request = publishOf(requestTopic(serial), JSON.stringify({ token, key: 'ec' }));
      socket.write(Buffer.concat([connectWith(serial), subscribeTo(replyTopic(serial)), request]));
    });
    socket.on(
      'data',
      packetReader(({ type, body }) => {
        if (type === puback) {
          storedMs = performance.now() - started;
          clearTimeout(timer);
          timer = setTimeout(end, triesForMs);
        } else if (type === publish && body.includes('"status":"accepted"')) end(storedMs);
      }),
    );
  });
}

const [publish, puback] = [3, 4];
