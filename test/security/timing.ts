import { randomBytes } from 'node:crypto';
import { connect } from 'node:tls';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import type { Figure } from '../chaos/figures.ts';
import type { Random } from '../chaos/random.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { summarize, welchT } from './welch.ts';

const limit = 4.5;
/** The machine does other work too, so the slowest samples of each kind say nothing about the code. */
const keptShare = 0.95;

/** Whether time reveals an unknown serial, for wrong tokens and for wrong pre-shared keys. */
export async function timing(
  { samples, random }: { samples: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  // the limits would end this after five attempts
  const gateway = await startGateway({
    logLevel: 'silent',
    tokenAttempts: { perSerial: 1e9, perSecond: 1e9, wrongPerAddress: 1e9, pauseSeconds: 0 },
  });
  try {
    const known: string[] = [];
    for (let index = 0; index < 50; index++) known.push((await gateway.enrolOnRoster(`known-${index}`)).serial);
    const serialOf = (kind: string) =>
      kind === 'known'
        ? (known[Math.floor(random.next() * known.length)] as string)
        : `known-${randomBytes(3).toString('hex')}`;
    const replies = await compare(samples, random, (kind) => reply(gateway, serialOf(kind)), say);
    const handshakes = await compare(samples, random, (kind) => handshake(gateway, serialOf(kind)), say);
    return [
      figureOf('reply to a wrong token, unknown serial against known', replies),
      figureOf('TLS handshake with a wrong pre-shared key, unknown serial against known', handshakes),
    ];
  } finally {
    await gateway.close();
  }
}

type Kind = 'known' | 'unknown';
type Compared = { readonly t: number; readonly count: number; readonly means: readonly [number, number] };

/** Samples of both kinds in random order, so that other work of the machine affects both alike. */
async function compare(
  samples: number,
  random: Random,
  measure: (kind: Kind) => Promise<number>,
  say: (line: string) => void,
): Promise<Compared> {
  const taken: Record<Kind, number[]> = { known: [], unknown: [] };
  for (let warmUp = 0; warmUp < 500; warmUp++) await measure(warmUp % 2 === 0 ? 'known' : 'unknown');
  for (let done = 0; done < samples; done++) {
    const kind = random.next() < 0.5 ? 'known' : 'unknown';
    taken[kind].push(await measure(kind));
    if (done % 5000 === 4999) say(`${done + 1} of ${samples} samples`);
  }
  const cut = (values: number[]) => values.sort((a, b) => a - b).slice(0, Math.floor(values.length * keptShare));
  const [unknown, wrong] = [summarize(cut(taken.unknown)), summarize(cut(taken.known))];
  return { t: welchT(unknown, wrong), count: samples, means: [unknown.mean, wrong.mean] };
}

async function reply(gateway: Gateway, serial: string): Promise<number> {
  // a connection is bound to one serial, so each sample begins after CONNECT
  const device = await connectDevice(gateway.broker);
  try {
    const payload = JSON.stringify({ token: randomBytes(20).toString('base64url') });
    const started = performance.now();
    const [{ errorCode }] = await Promise.all([
      device.next(),
      device.client.publishAsync(requestTopic(serial), payload, { qos: 1 }),
    ]);
    const took = performance.now() - started;
    if (errorCode !== 'InvalidToken') throw new Error(`answered ${errorCode} instead of InvalidToken`);
    return took;
  } finally {
    device.client.end(true);
  }
}

function handshake(gateway: Gateway, identity: string): Promise<number> {
  const started = performance.now();
  const socket = connect({
    host: '127.0.0.1',
    port: gateway.broker.port,
    minVersion: 'TLSv1.3',
    ciphers: 'TLS_AES_128_GCM_SHA256',
    pskCallback: () => ({ psk: Buffer.alloc(32, 1), identity }),
    checkServerIdentity: () => undefined,
  });
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', () => reject(new Error('a wrong key was let in')));
    socket.once('error', () => resolve(performance.now() - started));
  });
}

function figureOf(name: string, { t, count, means: [unknown, known] }: Compared): Figure {
  const value = `|t| = ${Math.abs(t).toFixed(2)}; means ${unknown.toFixed(3)} and ${known.toFixed(3)} ms, ${count} samples, the slowest 5 % of each left out`;
  return { name, value, goal: `|t| < ${limit}`, holds: Math.abs(t) < limit };
}
