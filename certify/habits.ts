import type { Observation, Seen, SeenOf } from './observation.ts';
import { broken, type Finding } from './rules.ts';

/** A device that asks again on a connection that stands, with nothing said to it meanwhile, waits for at least so long. Milliseconds. */
const leastPatienceMs = 5000;

/** So long a device may take to acknowledge a message, on a connection that stands. Milliseconds. */
const pubackMs = 5000;

/** What a device must keep to in every case. */
export function faultsOfHabit(observation: Observation): Finding[] {
  return [
    requestForm(observation),
    token(observation),
    sameKey(observation),
    haste(observation),
    pubacks(observation),
    lateSubscription(observation),
    nonces(observation),
  ].flat();
}

function requestForm({ requests, acks }: Observation): Finding[] {
  const findings: Finding[] = [];
  const unreadable = [...requests, ...acks].find(({ fault }) => fault !== undefined);
  if (unreadable !== undefined)
    findings.push(broken('readable-request', `a request cannot be read: ${unreadable.fault}`));
  const weak = [...requests, ...acks].find(({ qos }) => qos !== 1);
  if (weak !== undefined)
    findings.push(
      broken('qos-1', `it published ${weak.kind === 'ack' ? 'its acknowledgement' : 'a request'} with QoS ${weak.qos}`),
    );
  if (requests.some(({ retain }) => retain))
    findings.push(broken('not-retained', 'it set the retain flag of a request'));
  return findings;
}

function token(observation: Observation): Finding[] {
  const wrong = observation.all('token').filter(({ right }) => !right);
  const [first] = wrong;
  return first === undefined
    ? []
    : [broken('same-token', `it presented another token than its own in ${first.in}, ${wrong.length} times`)];
}

function sameKey({ requests }: Observation): Finding[] {
  const keys = new Set(requests.flatMap(({ key }) => key ?? []));
  return keys.size <= 1
    ? []
    : [broken('same-key', `its ${requests.length} requests came with ${keys.size} different keys`)];
}

/** A request again although nothing that the device heard asked for it. */
function haste({ seen }: Observation): Finding[] {
  const waiting = new Map<number, number>();
  let times = 0;
  let shortest = Number.POSITIVE_INFINITY;
  for (const each of seen) {
    if (endsWaiting(each)) waiting.delete(each.connection);
    if (each.kind !== 'request' || each.part > 0) continue;
    const before = waiting.get(each.connection);
    if (before !== undefined && each.at - before < leastPatienceMs) {
      times++;
      shortest = Math.min(shortest, each.at - before);
    }
    waiting.set(each.connection, each.at);
  }
  if (times === 0) return [];
  const cause = `it asked again ${seconds(shortest)} after a request on the same connection, which had no answer yet (${times} times)`;
  return [broken('one-request-at-a-time', cause)];
}

const endsWaiting = ({ kind }: Seen): boolean => kind === 'reply' || kind === 'closed';

function pubacks(observation: Observation): Finding[] {
  const { seen } = observation;
  const acknowledged = new Set(
    observation.all('puback-from-device').map(({ connection, messageId }) => `${connection} ${messageId}`),
  );
  const missing = observation.all('reply').filter((reply) => {
    if (reply.messageId === undefined || acknowledged.has(`${reply.connection} ${reply.messageId}`)) return false;
    return standsFor(reply, seen, observation.now) > pubackMs;
  });
  return missing.length === 0
    ? []
    : [broken('acknowledges-messages', `it sent no PUBACK for ${missing.length} of the messages that it got`)];
}

/** How long the connection of a reply stood after it, in milliseconds. */
function standsFor(reply: SeenOf<'reply'>, seen: readonly Seen[], now: number): number {
  const end = seen.find(
    ({ kind, connection, at }) => kind === 'closed' && connection === reply.connection && at >= reply.at,
  );
  return (end?.at ?? now) - reply.at;
}

function lateSubscription(observation: Observation): Finding[] {
  const late = observation.all('subscribe').some(({ connection, at, topics }) => {
    const asked = observation.requests.find((request) => request.connection === connection);
    return topics.some((topic) => topic.startsWith('cvm/reply/')) && asked !== undefined && asked.at < at;
  });
  return late ? [broken('subscribes-first', 'it subscribed to its replies after its request')] : [];
}

function nonces(observation: Observation): Finding[] {
  const drawn = observation.all('time-question').map(({ nonce }) => nonce);
  return new Set(drawn).size === drawn.length
    ? []
    : [broken('fresh-nonce', 'it asked for the time twice with the same nonce')];
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
