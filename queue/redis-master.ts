import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectSecure } from 'node:tls';
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis';
import { within } from '../runtime/deadline.ts';
import { errorText } from '../runtime/errors.ts';
import { type Address, addressText, type RedisPlace } from '../runtime/redis-place.ts';
import { ownKey } from './stored-keys.ts';

export type MovingPlace = Exclude<RedisPlace, { readonly by: 'address' }>;

/** Milliseconds: for one Sentinel or node to answer, and between two searches. */
const [usualAnswerMs, againMs] = [2000, 500];

/** Redis is searched for in vain; the message has no text of a person or a server that could be a secret. */
export class NoMaster extends Error {
  override readonly name = 'NoMaster';
}

/**
 * A connector of ioredis that first asks Sentinels, or nodes of a Cluster, which server takes the writes of our keys. All our
 * keys are in one slot (`ownKey`), so in a Cluster, too, that is one server, and one connection is enough: transactions, scripts and
 * blocking commands are the same in all three kinds of Redis. A new connection searches anew: that is the failover.
 */
export function masterConnector(place: MovingPlace, opened: (at: Address) => void, answerMs = usualAnswerMs) {
  return class extends AbstractConnector {
    constructor(options: unknown) {
      super((options as RedisOptions).disconnectTimeout ?? 2000);
    }
    /** A server that was demoted since answers as well. @param info of the server */
    override check({ role }: { role?: string }): boolean {
      return role === undefined || role === 'master';
    }
    /** ioredis ends for good where this throws, so it searches until it finds, or until it is not wanted any more. */
    override async connect(emit: (type: string, error: Error) => void) {
      this.connecting = true;
      for (;;) {
        const found = await findMaster(place, answerMs).catch((error: Error) => error);
        if (!this.connecting) throw new Error('Connection is closed.');
        if (!(found instanceof Error)) {
          opened(found);
          this.stream = open(found, place.tls);
          this.stream.once('error', (error) => {
            this.firstError = error;
          });
          return this.stream;
        }
        emit('error', found);
        await sleep(againMs, undefined, { ref: false });
      }
    }
  };
}

const open = ({ host, port }: Address, tls: boolean) =>
  tls ? connectSecure({ host, port, ...serverName(host) }) : createConnection({ host, port });

/** An address is no name for SNI (RFC 6066, 3). */
const serverName = (host: string) => (/^[\d.]+$|:/.test(host) ? {} : { servername: host });

/** @throws NoMaster with what each of those that were asked said */
async function findMaster(place: MovingPlace, answerMs: number): Promise<Address> {
  const ask = place.by === 'sentinel' ? askSentinel : askNode;
  try {
    return await Promise.any(place.ask.map((address) => askAt(address, place, answerMs, ask)));
  } catch (error) {
    const reasons = (error as AggregateError).errors.map(
      (reason, index) => `${addressText(place.ask[index] as Address)}: ${errorText(reason)}`,
    );
    throw new NoMaster(
      place.by === 'sentinel'
        ? `no Sentinel names a master "${place.master}" (${reasons.join('; ')})`
        : `no node of the Cluster names a master for our keys (${reasons.join('; ')})`,
    );
  }
}

type Ask<T = Address> = (redis: Redis, place: MovingPlace, asked: Address) => Promise<T>;

async function askAt<T>(address: Address, place: MovingPlace, answerMs: number, ask: Ask<T>): Promise<T> {
  const { username, password } =
    place.by === 'sentinel' ? { username: undefined, password: place.sentinelPassword } : place;
  const redis = new Redis({
    ...address,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(place.tls ? { tls: serverName(address.host) } : {}),
    connectTimeout: answerMs,
    commandTimeout: answerMs,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    retryStrategy: null,
    lazyConnect: true,
  });
  let reason: Error | undefined;
  redis.on('error', (error: Error) => {
    reason ??= error;
  });
  try {
    return await within(
      answerMs,
      'the answer',
      redis.connect().then(() => ask(redis, place, address)),
    );
  } catch (error) {
    throw reason ?? error;
  } finally {
    redis.disconnect();
  }
}

/** @see https://redis.io/docs/latest/develop/reference/sentinel-clients/ */
const askSentinel: Ask = async (redis, place) => {
  const { master } = place as Extract<MovingPlace, { by: 'sentinel' }>;
  const named = (await redis.call('SENTINEL', 'get-master-addr-by-name', master)) as [string, string] | null;
  if (named === null) throw new Error('it has no master of this name');
  return { host: named[0], port: Number(named[1]) };
};

/** @see https://redis.io/docs/latest/commands/cluster-nodes/ */
const askNode: Ask = async (redis, _place, asked) => {
  const owner = ownerOfSlot(...(await nodesAndSlot(redis)));
  if (owner === undefined) throw new Error('it knows no node that is up and serves their slot');
  // a node that has met no other yet does not know its own address
  return owner.host === '' ? { ...owner, host: asked.host } : owner;
};

/**
 * Whether a node of a Cluster, by its own account, still serves our keys. A connection that only listens hears of no MOVED: at a node
 * that was taken out of the Cluster, and runs on, it would hear nothing for ever. A node that does not answer is left to the probes.
 */
export function isStillOwner(place: MovingPlace, at: Address, answerMs = usualAnswerMs): Promise<boolean> {
  const ask = askAt(at, place, answerMs, async (redis) => {
    const [nodes, slot] = await nodesAndSlot(redis);
    const itself = nodes.split('\n').filter((line) => line.split(' ')[2]?.split(',').includes('myself'));
    return ownerOfSlot(itself.join('\n'), slot) !== undefined;
  });
  return ask.catch(() => true);
}

const nodesAndSlot = async (redis: Redis): Promise<[nodes: string, slot: number]> => {
  const [slot, nodes] = await Promise.all([
    redis.call('CLUSTER', 'KEYSLOT', ownKey('')),
    redis.call('CLUSTER', 'NODES'),
  ]);
  return [nodes as string, Number(slot)];
};

/** The node that serves the slot and is not down, by its host name where it announces one. @param nodes the answer to CLUSTER NODES */
export function ownerOfSlot(nodes: string, slot: number): Address | undefined {
  for (const line of nodes.split('\n')) {
    const [, address = '', flags = '', , , , , , ...slots] = line.trim().split(' ');
    const isDown = flags.split(',').some((flag) => ['fail', 'fail?', 'noaddr', 'handshake'].includes(flag));
    if (isDown || !slots.some((range) => hasSlot(range, slot))) continue;
    const [, ip = '', port, name] = /^(.*):(\d+)(?:@\d+)?(?:,([^,=]*))?/.exec(address) ?? [];
    return { host: name || ip, port: Number(port) };
  }
  return undefined;
}

/** `5461-10922`, or `7`; `[7->-id]` is one that moves */
function hasSlot(range: string, slot: number): boolean {
  const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(range) ?? [];
  return first !== undefined && Number(first) <= slot && slot <= Number(last);
}
