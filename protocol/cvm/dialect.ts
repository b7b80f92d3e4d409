import type { Dialect, Message, SessionView } from '../dialect.ts';
import { encodingOf } from '../encoding.ts';
import { problem } from '../problems.ts';
import { parseAcknowledgement } from './acknowledgement.ts';
import { unfitPacketSize, writeReply } from './reply.ts';
import { type CvmForm, defaultForm, parseRequest } from './request.ts';
import { replyTopic, serialOfAck, serialOfReply, serialOfRequest, serialOfTopicBelowReply } from './topics.ts';

/** A copy goes to a connection that only subscribed; it has no form of its own, see `write`. */
type Form = { readonly topic: string; readonly fields: CvmForm | 'copy' };

/** Our own device API, see docs/protocol.md. The last level of every topic is the serial. */
export const cvm: Dialect<Form> = {
  topics: 'cvm/request/<serial> and cvm/ack/<serial>',
  read(topic, payload, session) {
    const asking = serialOfRequest(topic);
    if (asking !== undefined) return readRequest(asking, payload, session);
    const acknowledging = serialOfAck(topic);
    return acknowledging === undefined ? undefined : readAcknowledgement(acknowledging, payload);
  },
  readFilter(filter) {
    const serial = serialOfReply(filter);
    if (serial !== undefined) return { serial, copyForm: { topic: filter, fields: 'copy' } };
    const above = serialOfTopicBelowReply(filter);
    return above === undefined ? undefined : { serial: above, copyForm: undefined };
  },
  whenPending: ({ fields }) => (fields !== 'copy' && fields.pending ? 'tell' : 'say-nothing'),
  write(answer, { topic, fields }, session, now) {
    const form = fields === 'copy' ? defaultForm(session.encoding) : fields;
    return answer.status === 'registered'
      ? undefined
      : writeReply(answer, form, { topic, maxPacket: session.maxPacket, extraBytes: session.extraBytes?.(topic), now });
  },
};

function readRequest(serial: string, payload: Uint8Array, session: SessionView): Message<Form> {
  const parsed = parseRequest(payload);
  const encoding = encodingOf(payload);
  const topic = replyTopic(serial);
  const { maxPacket } = parsed.ok ? parsed.request : parsed;
  const message = { serial, encoding, maxPacket };
  if (!parsed.ok) {
    const form = { topic, fields: { ...defaultForm(encoding), id: parsed.id } };
    return { kind: 'unreadable', problem: parsed.problem, ...message, form };
  }
  const { token, misspeltToken, csr, key, template: templateName, parameters, ...rest } = parsed.request;
  const { maxPacket: _ofConnection, ...fields } = rest;
  const template = templateName === undefined ? undefined : { templateName, parameters };
  const form = { topic, fields };
  const largest = maxPacket ?? session.maxPacket;
  const unfit = largest === undefined ? undefined : unfitPacketSize(topic, largest, session.extraBytes?.(topic));
  if (unfit !== undefined) return { kind: 'unreadable', problem: unfit, ...message, form };
  return { kind: 'request', request: { token, misspeltToken, csr, key, template }, ...message, form };
}

function readAcknowledgement(serial: string, payload: Uint8Array): Message<Form> {
  const certificateId = parseAcknowledgement(payload);
  const encoding = encodingOf(payload);
  const form = { topic: replyTopic(serial), fields: defaultForm(encoding) };
  return certificateId === undefined
    ? { kind: 'unreadable', problem: notAnAcknowledgement, serial, encoding, form }
    : { kind: 'acknowledgement', certificateId, serial, encoding, form };
}

const notAnAcknowledgement = problem(
  'InvalidRequest',
  'an acknowledgement is {"certificateId":"…"}, with the 64 hex digits of the certificate',
);
