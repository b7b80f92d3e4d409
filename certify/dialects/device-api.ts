import type { IPublishPacket } from 'mqtt-packet';
import { checkCsr } from '../../broker/csr.ts';
import { parseAcknowledgement } from '../../protocol/cvm/acknowledgement.ts';
import { writeReply } from '../../protocol/cvm/reply.ts';
import { type CvmForm, defaultForm, parseRequest } from '../../protocol/cvm/request.ts';
import { ackTopic, replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { encodingOf, writePayload } from '../../protocol/encoding.ts';
import type { RequestSeen } from '../observation.ts';
import { readReply } from '../replies.ts';
import type { Asked, CertifyDialect, Connection } from './dialect.ts';

/** The dialect of docs/protocol.md. */
export const deviceApi: CertifyDialect = {
  readAsked(packet, connection) {
    const { topic, qos } = packet;
    const { serial } = connection;
    const payload = Buffer.from(packet.payload);
    if (topic === requestTopic(serial)) return readRequest(packet, payload, connection);
    if (topic !== ackTopic(serial)) return undefined;
    const seen = { kind: 'ack', certificateId: parseAcknowledgement(payload), qos } as const;
    return { seen, ...answersIn(defaultForm(encodingOf(payload)), packet, connection) };
  },
  readReply: (topic, payload) => (topic.startsWith('cvm/reply/') ? readReply(payload) : undefined),
};

function readRequest(packet: IPublishPacket, payload: Buffer, connection: Connection): Asked {
  const { qos, retain, dup } = packet;
  const parsed = parseRequest(payload);
  const encoding = encodingOf(payload);
  const usual = { kind: 'request', dialect: 'cvm', encoding, qos, retain, dup } as const;
  const named = parsed.ok ? parsed.request.maxPacket : parsed.maxPacket;
  const maxPacket = smaller(named, connection.maxPacket);
  if (!parsed.ok) {
    const seen: RequestSeen = { ...usual, key: undefined, part: 0, wantsPending: true, fault: parsed.problem.message };
    return { seen, maxPacket, ...answersIn(defaultForm(encoding), packet, { ...connection, maxPacket }) };
  }
  const { token, csr, key, maxPacket: _, ...fields } = parsed.request;
  const { id, part, pending: wantsPending } = fields;
  const seen: RequestSeen = { ...usual, ...keyOf(csr, key), id, part, maxPacket, wantsPending };
  return { seen, token, maxPacket, ...answersIn(fields, packet, { ...connection, maxPacket }) };
}

const smaller = (one: number | undefined, other: number | undefined): number | undefined =>
  one === undefined ? other : Math.min(one, other ?? one);

/** The key that a request names, and why its CSR cannot be read. */
export function keyOf(
  csr: Parameters<typeof checkCsr>[0] | undefined,
  made: string,
): Pick<RequestSeen, 'key' | 'fault'> {
  if (csr === undefined) return { key: made };
  const checked = checkCsr(csr);
  return checked.ok ? { key: checked.keyDigest } : { key: undefined, fault: checked.problem.message };
}

/** With MQTT 5 an answer goes to the Response Topic of its request. */
function answersIn(form: CvmForm, { properties }: IPublishPacket, { serial, maxPacket }: Connection) {
  const topic = properties?.responseTopic ?? replyTopic(serial);
  const { id, encoding } = form;
  return {
    answer(answer: Parameters<Asked['answer']>[0]) {
      const message = writeReply(answer, form, { topic, maxPacket, now: Date.now() });
      if (message === undefined || !('payload' in message) || message.payload === undefined) return undefined;
      return { topic, payload: message.payload };
    },
    notice: (status: string) => ({
      topic,
      payload: writePayload({ status, ...(id === undefined ? {} : { id }) }, encoding),
    }),
  };
}
