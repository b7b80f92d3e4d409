import { connect, type Socket } from 'node:net';
import { connectWith, packet, publishOf, text } from '../support/raw-mqtt.ts';
import type { Step, Vector } from './vectors.ts';

/** How long a sequence waits for bytes or for the end of its connection, in milliseconds. */
const patienceMs = 4000;

const connackAccepted = Buffer.from([0x20, 2, 0, 0]);
const [pingreq, pingresp] = [Buffer.from([0xc0, 0]), Buffer.from([0xd0, 0])];
const [puback, pubrec, pubcomp] = [0x40, 0x50, 0x70].map((header) => Buffer.from([header, 2, 0, 1])) as [
  Buffer,
  Buffer,
  Buffer,
];

/** Runs one sequence as mosquitto's msg_sequence_test.py does. @returns what went otherwise than it says; undefined: nothing */
export async function runSequence(port: number, vector: Vector): Promise<string | undefined> {
  const client = await openClient(port);
  const ids: MessageIds = new Map();
  try {
    if (vector.isConnected) {
      client.socket.write(connectAs(vector));
      await receiveLike(client, connackAccepted, vector);
    }
    for (const step of vector.steps) await takeStep(client, port, step, { ids, vector });
    if (!vector.endsClosed) await exchange(client, pingreq, pingresp);
    else if (await client.hasMore()) return 'the connection stayed open, or the broker said more';
    return undefined;
  } catch (error) {
    return (error as Error).message;
  } finally {
    client.socket.destroy();
  }
}

function connectAs({ name, level }: Vector): Buffer {
  if (level === 4) return connectWith(name);
  if (level === 5) return packet(0x10, text('MQTT'), Buffer.from([5, 2, 0, 60, 0]), text(name));
  return packet(0x10, text('MQIsdp'), Buffer.from([3, 2, 0, 60]), text(name));
}

type Run = { readonly ids: MessageIds; readonly vector: Vector };

async function takeStep(client: Client, port: number, step: Step, { ids, vector }: Run): Promise<void> {
  if (step.type === 'publish') await publishAsHelper(port, step);
  else if (step.type === 'send') client.socket.write(withOurId(step.bytes, ids));
  else if (idAt(step.bytes) !== undefined) await receiveMessage(client, step.bytes, ids);
  else await receiveLike(client, withOurId(step.bytes, ids), vector);
}

/**
 * Receives these bytes. In MQTT 5 a broker announces limits of its own in CONNACK, and may write a text behind each reason code: of CONNACK and
 * DISCONNECT the reason code counts.
 */
async function receiveLike(client: Client, expected: Buffer, { level }: Vector): Promise<void> {
  const [header = 0] = expected;
  const codeAt = header === 0x20 ? 1 : 0;
  if (level < 5 || (header !== 0x20 && header !== 0xe0)) return client.receive(expected);
  const got = await client.receivePacket();
  if (got.header !== header || got.body[codeAt] !== expected[2 + codeAt])
    throw new Error(`got ${hex(got.header, got.body)} in place of ${expected.toString('hex')}`);
}

const hex = (header: number, body: Buffer) => packet(header, body).toString('hex');

/** mosquitto's message ids begin with 1, those of aedes anywhere: which of ours stands for which of mosquitto's. */
type MessageIds = Map<number, number>;

/** Receives a PUBLISH that may have another message id, and notes it. */
async function receiveMessage(client: Client, expected: Buffer, ids: MessageIds): Promise<void> {
  const at = idAt(expected) ?? 0;
  await client.receive(expected, (got) => {
    if (got.length < at + 2) return expected;
    ids.set(expected.readUInt16BE(at), got.readUInt16BE(at));
    return Buffer.concat([expected.subarray(0, at), got.subarray(at, at + 2), expected.subarray(at + 2)]);
  });
}

/** Where a short PUBLISH with QoS 1 or 2 has its message id. */
function idAt(bytes: Buffer): number | undefined {
  const [header = 0] = bytes;
  return header >> 4 === 3 && (header & 6) !== 0 && bytes.length > 4 ? 4 + bytes.readUInt16BE(2) : undefined;
}

/** An acknowledgement (PUBACK, PUBREC, PUBREL, PUBCOMP) for the message that has another id here. */
function withOurId(bytes: Buffer, ids: MessageIds): Buffer {
  const [header = 0] = bytes;
  const ours = header >> 4 >= 4 && header >> 4 <= 7 && bytes.length === 4 ? ids.get(bytes.readUInt16BE(2)) : undefined;
  return ours === undefined ? bytes : Buffer.from([header, 2, ours >> 8, ours & 0xff]);
}

async function publishAsHelper(
  port: number,
  { topic, qos, payload }: Extract<Step, { type: 'publish' }>,
): Promise<void> {
  const helper = await openClient(port);
  try {
    await exchange(helper, connectWith('helper'), connackAccepted);
    if (qos === 0) helper.socket.write(packet(0x30, text(topic), Buffer.from(payload)));
    else if (qos === 1) await exchange(helper, publishOf(topic, payload, { id: 1 }), puback);
    else {
      await exchange(helper, packet(0x34, text(topic), Buffer.from([0, 1]), Buffer.from(payload)), pubrec);
      await exchange(helper, Buffer.from([0x62, 2, 0, 1]), pubcomp);
    }
  } finally {
    helper.socket.end();
  }
}

async function exchange(client: Client, sent: Buffer, expected: Buffer): Promise<void> {
  client.socket.write(sent);
  await client.receive(expected);
}

type Client = Awaited<ReturnType<typeof openClient>>;

async function openClient(port: number) {
  const socket: Socket = connect(port, '127.0.0.1');
  let heard: Buffer = Buffer.alloc(0);
  let [isClosed, wake] = [false, () => {}];
  socket.on('data', (chunk: Buffer) => {
    heard = Buffer.concat([heard, chunk]);
    wake();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
    wake();
  });
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()));

  /** @returns whether so many bytes came before the connection ended; @throws after `patienceMs` */
  async function hear(count: number): Promise<boolean> {
    for (const end = Date.now() + patienceMs; heard.length < count && !isClosed; ) {
      if (Date.now() >= end) throw new Error(`nothing came for ${patienceMs} ms, and the connection stayed open`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, end - Date.now());
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return heard.length >= count;
  }

  return {
    socket,
    /** @param adapt changes what is expected by what came, which has the same length */
    async receive(written: Buffer, adapt: (got: Buffer) => Buffer = () => written): Promise<void> {
      const isEnough = await hear(written.length);
      const got = heard.subarray(0, written.length);
      heard = heard.subarray(written.length);
      const expected = adapt(got);
      if (!got.equals(expected))
        throw new Error(
          `${isEnough ? '' : 'closed; '}got ${got.toString('hex') || 'nothing'} in place of ${expected.toString('hex')}`,
        );
    },
    /** A packet with less than 16,384 bytes. */
    async receivePacket(): Promise<{ header: number; body: Buffer }> {
      if (!(await hear(2))) throw new Error('closed; got nothing');
      const isLong = (heard[1] ?? 0) > 127;
      await hear(3);
      const length = isLong ? ((heard[1] ?? 0) & 127) + (heard[2] ?? 0) * 128 : (heard[1] ?? 0);
      const bodyAt = isLong ? 3 : 2;
      if (!(await hear(bodyAt + length))) throw new Error('closed in the middle of a packet');
      const [header = 0, body] = [heard[0], heard.subarray(bodyAt, bodyAt + length)];
      heard = heard.subarray(bodyAt + length);
      return { header, body };
    },
    hasMore: () => hear(1),
  };
}
