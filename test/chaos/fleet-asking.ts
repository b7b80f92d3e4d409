import { setTimeout as sleep } from 'node:timers/promises';
import { decode, encode } from 'cborg';
import type { MqttClient } from 'mqtt';
import type { Credential, Stored } from '../../gateway-sim/device.ts';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import type { Gateway } from '../../gateway-sim/link.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { create, createFromCsr, type FleetReply, provision } from '../support/fleet-device.ts';
import { type AskOptions, published } from './asking.ts';

export type FleetPlan = {
  /** who makes the key: AWS, or the device */
  readonly flow: 'rsa' | 'csr';
  readonly form: 'json' | 'cbor';
};

/** What a device shows when it connects. */
export type FleetProof = { readonly username: string; readonly password: string } | { cert: string; key: string };

export type Created = Stored & { readonly ownershipToken: string };

/**
 * A device of AWS IoT Fleet Provisioning that keeps account. Answers come to the connection that asked only, so a request is owed its answer
 * as long as that connection lives; on a new one the device begins anew.
 */
export type FleetAsker = {
  readonly serial: string;
  readonly token: string;
  /** every certificate that `create` gave, in order, each once, with its latest ownership token */
  readonly created: readonly Created[];
  /** the error codes of its refusals, in order */
  readonly refusals: string[];
  /** topics of requests that had a PUBACK and no answer, of the connection that it has */
  readonly owed: ReadonlySet<string>;
  /** Asks for a certificate, until it has one or a refusal that stays. @returns undefined when it gave up */
  create(options: AskOptions): Promise<FleetReply | undefined>;
  /**
   * Asks to be registered as this serial, by an ownership token; as often as it takes. `lost`: the connection on which the token counts
   * is gone.
   */
  provision(ownershipToken: string, as: string, options: AskOptions): Promise<FleetReply | 'lost' | undefined>;
  leave(): Promise<void>;
};

const pauseMs = 300;
const repeatMs = 10_000;
/** the template of all of them */
export const templateName = 'pump';
/** also: the broker does not know yet that the token is right */
const passes = new Set(['Throttled', 'InternalFailure', 'UpstreamUnavailable']);

export async function createFleetAsker(
  gateway: Gateway,
  { serial, token }: Credential,
  proof: FleetProof,
  { flow, form }: FleetPlan,
): Promise<FleetAsker> {
  const own = flow === 'csr' ? await makeDeviceKey(serial) : undefined;
  const createTopic = own === undefined ? create(form) : createFromCsr(form);
  const created: Created[] = [];
  const refusals: string[] = [];
  const owed = new Set<string>();
  let client: MqttClient | undefined;
  let answers = new Map<string, FleetReply>();

  function hear(topic: string, payload: Buffer): void {
    const body = (form === 'cbor' ? decode(payload) : JSON.parse(payload.toString())) as FleetReply;
    const asked = topic.slice(0, topic.lastIndexOf('/'));
    owed.delete(asked);
    answers.set(asked, body);
    if (body.errorCode !== undefined) refusals.push(body.errorCode);
    if (body.certificateId !== undefined) store(body);
  }

  function store({
    certificateId = '',
    certificatePem = '',
    privateKey = '',
    certificateOwnershipToken = '',
  }: FleetReply) {
    const at = created.findIndex((each) => each.certificateId === certificateId);
    const privateKeyPem = own?.privateKeyPem ?? privateKey;
    const given = { serial, certificateId, certificatePem, privateKeyPem, ownershipToken: certificateOwnershipToken };
    if (at === -1) created.push(given);
    else created[at] = given;
  }

  async function connected(leftMs: number): Promise<MqttClient | undefined> {
    if (client?.connected === true) return client;
    await client?.endAsync(true);
    // what was asked on a connection that is gone is owed no more
    owed.clear();
    answers = new Map();
    const { host, port, caPem } = gateway;
    const connectTimeout = Math.min(10_000, Math.max(1, leftMs));
    client = await connectOnce({ host, port, ca: caPem, servername: host, connectTimeout, ...proof }).catch(
      () => undefined,
    );
    client?.on('message', hear);
    return client;
  }

  /** On one connection. @returns undefined when it is gone, or the device has no more patience */
  async function answerOn(on: MqttClient, topic: string, fields: object | undefined, { giveUpAt }: AskOptions) {
    const encoded = fields && (form === 'cbor' ? Buffer.from(encode(fields)) : JSON.stringify(fields));
    answers.delete(topic);
    let askAt = 0;
    while (on.connected && giveUpAt() > performance.now()) {
      const answer = answers.get(topic);
      if (answer !== undefined) return answer;
      if (performance.now() >= askAt) {
        await published(on, topic, encoded ?? Buffer.alloc(0));
        if (!answers.has(topic)) owed.add(topic);
        askAt = performance.now() + repeatMs;
      }
      await sleep(20);
    }
    return undefined;
  }

  /** Until there is an answer that stays. @returns `lost`: `stays` on one connection, and it is gone */
  async function ask(topic: string, fields: object | undefined, options: AskOptions, stays: boolean) {
    const first = client;
    while (options.giveUpAt() > performance.now()) {
      if (stays && (client !== first || client?.connected !== true)) return 'lost';
      const on = await connected(options.giveUpAt() - performance.now());
      const answer = on && (await answerOn(on, topic, fields, options).catch(() => undefined));
      if (answer !== undefined && !passes.has(answer.errorCode ?? '')) return answer;
      await sleep(retryMs(answer));
    }
    return undefined;
  }

  return {
    serial,
    token,
    created,
    refusals,
    owed,
    async create(options) {
      const fields = own && { certificateSigningRequest: own.csrPem };
      const answer = await ask(createTopic, fields, options, false);
      return answer === 'lost' ? undefined : answer;
    },
    provision: (certificateOwnershipToken, as, options) =>
      ask(
        provision(templateName, form),
        { certificateOwnershipToken, parameters: { SerialNumber: as } },
        options,
        'cert' in proof,
      ),
    async leave() {
      await client?.endAsync(true);
    },
  };
}

/** The gateway says it in words, as AWS does. */
function retryMs(answer: FleetReply | undefined): number {
  const [, seconds] = /ask again in (\d+) s/.exec(answer?.errorMessage ?? '') ?? [];
  return seconds === undefined ? pauseMs : Math.min(Number(seconds) * 1000, 3000);
}
