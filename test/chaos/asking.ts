import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MqttClient } from 'mqtt';
import type { Flow } from '../../gateway-sim/behaviour.ts';
import type { Credential, Stored } from '../../gateway-sim/device.ts';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import type { Gateway } from '../../gateway-sim/link.ts';
import type { Reply } from '../../gateway-sim/reply.ts';
import { ackTopic, replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';

export type AskOptions = {
  /** The end of its patience, on the clock of `performance.now()`; read again and again, so that it may move */
  giveUpAt(): number;
  /** it asks again on the same connection, with another id, after so many milliseconds without an answer */
  readonly repeatMs?: number;
  /** a refusal ends it, also one that says when to come back */
  readonly endsRefused?: boolean;
  /** at the end, it says that it has stored its certificate */
  readonly acknowledges?: boolean;
};

/** A device that keeps account: which of its requests had a PUBACK, which of them were answered, and with what. */
export type Asker = {
  readonly serial: string;
  readonly token: string;
  /** every certificate that it was given, in order, each once */
  readonly given: Stored[];
  /** the error codes of its refusals, in order */
  readonly refusals: string[];
  /** ids that had a PUBACK and no answer */
  readonly owed: ReadonlySet<string>;
  /**
   * Asks until it has a final answer, and every request that had a PUBACK is answered, over as many connections as it
   * takes. On a new connection it asks again with the ids that it is still owed.
   */
  ask(gateway: Gateway, options: AskOptions): Promise<'accepted' | 'refused' | 'gave-up'>;
  /** Acknowledges the certificate that it was given last. */
  acknowledge(gateway: Gateway, options: AskOptions): Promise<void>;
};

const usualRepeatMs = 3000;
const pauseMs = 300;
const pubackMs = 10_000;

export type OwnKey = Awaited<ReturnType<typeof makeDeviceKey>>;

/** @param key of the device, where it has one already */
export async function createAsker({ serial, token }: Credential, flow: Flow, key?: OwnKey): Promise<Asker> {
  const own = flow === 'csr' ? (key ?? (await makeDeviceKey(serial))) : undefined;
  const body = { token, ...(own === undefined ? { key: flow } : { csr: own.csrPem }) };
  const given: Stored[] = [];
  const refusals: string[] = [];
  const owed = new Set<string>();
  const answered = new Set<string>();

  function store({ certificateId = '', certificatePem = '', privateKey = '' }: Reply): void {
    if (given.some((stored) => stored.certificateId === certificateId)) return;
    given.push({ serial, certificateId, certificatePem, privateKeyPem: own?.privateKeyPem ?? privateKey });
  }

  function note(reply: Reply): void {
    if (reply.id !== undefined) {
      answered.add(reply.id);
      owed.delete(reply.id);
    }
    if (reply.status === 'accepted') store(reply);
    else refusals.push(reply.errorCode ?? '');
  }

  /** Resolves with the PUBACK: from then on the answer is owed. */
  async function publish(client: MqttClient, id: string): Promise<void> {
    await published(client, requestTopic(serial), JSON.stringify({ ...body, id }));
    if (!answered.has(id)) owed.add(id);
  }

  const acknowledgeOn = (client: MqttClient) =>
    published(client, ackTopic(serial), JSON.stringify({ certificateId: given.at(-1)?.certificateId }));

  return {
    serial,
    token,
    given,
    refusals,
    owed,
    async ask(gateway, { giveUpAt, repeatMs = usualRepeatMs, endsRefused = false, acknowledges = false }) {
      let final: 'accepted' | 'refused' | undefined;
      const left = () => giveUpAt() - performance.now();
      while (left() > 0) {
        const client = await connect(gateway, serial, left()).catch(() => undefined);
        if (client === undefined) {
          await sleep(pauseMs);
          continue;
        }
        let comeBackAt = 0;
        client.on('message', (_topic, payload) => {
          const reply = JSON.parse(payload.toString()) as Reply;
          if (reply.status === 'pending') return;
          note(reply);
          if (reply.status === 'accepted') final = 'accepted';
          else if (reply.retryAfter === undefined || endsRefused) final ??= 'refused';
          else comeBackAt = performance.now() + reply.retryAfter * 1000;
        });
        try {
          await client.subscribeAsync(replyTopic(serial), { qos: 1 });
          for (const id of [...owed]) await publish(client, id);
          let askAt = owed.size === 0 && final === undefined ? 0 : performance.now() + repeatMs;
          while (client.connected && left() > 0) {
            if (final !== undefined && owed.size === 0) {
              if (final === 'accepted' && acknowledges) await acknowledgeOn(client);
              return final;
            }
            if (performance.now() >= Math.max(askAt, comeBackAt)) {
              askAt = performance.now() + repeatMs;
              // a repetition is what brings an answer that Redis lost
              await publish(client, final === undefined ? randomUUID() : ([...owed][0] ?? randomUUID()));
            }
            await sleep(20);
          }
        } catch {
          await sleep(pauseMs);
        } finally {
          await client.endAsync(true);
        }
      }
      return 'gave-up';
    },
    async acknowledge(gateway, { giveUpAt }) {
      while (giveUpAt() > performance.now()) {
        const connecting = connect(gateway, serial, giveUpAt() - performance.now(), token);
        const client = await connecting.catch(() => undefined);
        try {
          if (client !== undefined) return await acknowledgeOn(client);
        } catch {
          // the connection closed before the PUBACK
        } finally {
          await client?.endAsync(true);
        }
        await sleep(pauseMs);
      }
    },
  };
}

function connect(
  { host, port, caPem }: Gateway,
  serial: string,
  leftMs: number,
  password?: string,
): Promise<MqttClient> {
  const proof = password === undefined ? {} : { username: serial, password };
  const patience = { connectTimeout: Math.min(10_000, Math.max(1, leftMs)) };
  return connectOnce({ host, port, ca: caPem, servername: host, clientId: serial, ...patience, ...proof });
}

/** Resolves with the PUBACK. @throws when the connection closes first, or none comes for a time */
export async function published(client: MqttClient, topic: string, payload: string | Buffer): Promise<void> {
  let fail = (_reason: Error): void => {};
  const failed = new Promise<never>((_resolve, reject) => {
    fail = reject;
  });
  const onClose = () => fail(new Error('the connection closed'));
  const timer = setTimeout(() => fail(new Error('no PUBACK in time')), pubackMs);
  client.once('close', onClose);
  try {
    await Promise.race([client.publishAsync(topic, payload, { qos: 1 }), failed]);
  } finally {
    clearTimeout(timer);
    client.off('close', onClose);
  }
}
