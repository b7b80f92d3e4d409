import type { IPublishPacket } from 'mqtt-packet';
import type { SessionView } from '../../protocol/dialect.ts';
import { readPayload } from '../../protocol/encoding.ts';
import { fleetProvisioning } from '../../protocol/fleet-provisioning/dialect.ts';
import { operationOf } from '../../protocol/fleet-provisioning/topics.ts';
import type { ReplyContent } from '../replies.ts';
import { keyOf } from './device-api.ts';
import type { Asked, CertifyDialect, Connection } from './dialect.ts';

/** AWS IoT Fleet Provisioning. That a device asks to be registered is its acknowledgement. */
export const fleetProvisioningDialect: CertifyDialect = {
  readAsked(packet, connection) {
    const { topic, qos, retain, dup } = packet;
    const operation = operationOf(topic);
    const session = sessionOf(packet, connection);
    const message = fleetProvisioning.read(topic, Buffer.from(packet.payload), session);
    if (operation === undefined || message === undefined) return undefined;
    const { encoding, form } = message;
    const answer: Asked['answer'] = (what) => {
      const written = fleetProvisioning.write(what, form, session, Date.now());
      return written !== undefined && 'payload' in written ? written : undefined;
    };
    if (operation.name === 'provision') {
      const template = operation.templateName;
      const certificateId =
        message.kind === 'registration' ? connection.certificateOf(message.registration.ownershipToken) : undefined;
      const fault = message.kind === 'unreadable' ? { fault: message.problem.message } : {};
      return { seen: { kind: 'ack', certificateId, qos, template, ...fault }, answer };
    }
    const usual = { kind: 'request', dialect: 'fleet-provisioning', encoding, qos, retain, dup } as const;
    const key =
      message.kind === 'request'
        ? keyOf(message.request.csr, message.request.key)
        : { key: undefined, ...(message.kind === 'unreadable' ? { fault: message.problem.message } : {}) };
    return { seen: { ...usual, ...key, part: 0, wantsPending: false }, answer };
  },
  readReply,
};

/** Answers that a case writes hold no ownership token. */
const sessionOf = ({ topic }: IPublishPacket, { serial, maxPacket }: Connection): SessionView => ({
  serial,
  encoding: topic.endsWith('/cbor') ? 'cbor' : 'json',
  maxPacket,
  ownershipToken: () => '',
});

/** The topic tells which answer it is: the payloads have no status. */
function readReply(topic: string, payload: Buffer): ReplyContent | undefined {
  const [, asked = '', outcome] = /^(.+)\/(accepted|rejected)$/.exec(topic) ?? [];
  const operation = operationOf(asked);
  if (operation === undefined) return undefined;
  const read = readPayload(payload);
  const fields = ('value' in read ? read.value : {}) as Record<string, unknown>;
  const text = (name: string, as = name) => (typeof fields[name] === 'string' ? { [as]: fields[name] } : {});
  if (outcome === 'rejected')
    return { type: 'whole', status: 'rejected', ...text('errorCode'), ...text('errorMessage', 'reason') };
  if (operation.name === 'provision') return { type: 'whole', status: 'registered' };
  return { type: 'whole', status: 'accepted', ...text('certificateId'), ...text('certificateOwnershipToken') };
}
