import type { Answer, PendingAnswer } from '../answer.ts';
import type { Dialect, Message, OutgoingMessage, SessionView } from '../dialect.ts';
import { type Encoding, type PayloadFields, writePayload } from '../encoding.ts';
import { packetFor, payloadRoom } from '../packet-size.ts';
import { type Problem, problem, shortRejection, statusCodes } from '../problems.ts';
import { readCreate, readCreateFromCsr, readRegistration } from './requests.ts';
import { isAnswerFilter, type Operation, operationOf } from './topics.ts';

type Form = { readonly topic: string; readonly encoding: Encoding };

/** As AWS says of its own. Milliseconds. */
const ownershipMs = 3_600_000;

/** The AWS IoT Device Client waits for ten seconds at each step. */
const patienceSeconds = 8;

/**
 * AWS IoT Fleet Provisioning by claim, so that firmware that speaks it moves to the gateway unchanged (docs/fleet-provisioning.md). What
 * proves the device is the token of its connection.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
 */
export const fleetProvisioning: Dialect<Form> = {
  topics:
    '$aws/certificates/create, $aws/certificates/create-from-csr and $aws/provisioning-templates/<name>/provision, each with /json or /cbor behind it',
  read(topic, payload) {
    const operation = operationOf(topic);
    return operation && readMessage(topic, operation, payload);
  },
  // answers come to the connection that asked in any case, so a filter gives nothing more, and needs no serial
  readFilter: (filter) => (isAnswerFilter(filter) ? { serial: undefined, copyForm: undefined } : undefined),
  // in the words of AWS: too many requests. A client that hears nothing gives up as well, and learns nothing
  whenPending: (_form, { etaSeconds, waitedSeconds = 0 }) =>
    etaSeconds !== undefined && waitedSeconds + etaSeconds <= patienceSeconds ? 'say-nothing' : 'end',
  write(answer, { topic, encoding }, session, now) {
    if (answer.status === 'rejected' || answer.status === 'pending')
      return rejected(refusalOf(answer), { topic, encoding }, session);
    const accepted = `${topic}/accepted`;
    const payload = writePayload(fieldsOf(answer, session, now), encoding);
    if (payload.length <= roomOf(accepted, session)) return { topic: accepted, payload };
    // there are no parts in this dialect, and without an answer the device would wait for ever
    const unfit = tooLong(packetFor(accepted, payload.length, session.extraBytes?.(accepted)));
    const instead = rejected(unfit, { topic, encoding }, session);
    return instead && { ...instead, unfit };
  },
};

/** With as much of the message as there is room for. @returns undefined where not even the code fits beside the topic */
function rejected(reason: Problem, { topic, encoding }: Form, session: SessionView): OutgoingMessage | undefined {
  const to = `${topic}/rejected`;
  const payload = shortRejection(reason, roomOf(to, session), (short) => writePayload(rejection(short), encoding));
  return payload && { topic: to, payload };
}

const roomOf = (topic: string, { maxPacket, extraBytes }: SessionView): number =>
  maxPacket === undefined ? Number.POSITIVE_INFINITY : payloadRoom(topic, maxPacket, extraBytes?.(topic));

/** The number first: the rest may be cut. */
const tooLong = (packet: number): Problem =>
  problem(
    'InvalidRequest',
    `${packet} bytes are needed in a packet, since the answer comes in one: take larger ones. A CSR and CBOR make it shorter`,
  );

const refusalOf = (answer: Extract<Answer, { status: 'rejected' | 'pending' }>): Problem =>
  answer.status === 'rejected' ? answer.problem : problem('Throttled', waits(answer), answer.retryAfterSeconds);

function readMessage(topic: string, operation: Operation, payload: Uint8Array): Message<Form> {
  const { encoding } = operation;
  const shared = { serial: undefined, encoding, form: { topic, encoding } };
  if (operation.name === 'provision') {
    const { templateName } = operation;
    const read = templateName.length > maxNameLength ? { problem: longName } : readRegistration(payload, encoding);
    return 'problem' in read
      ? { kind: 'unreadable', ...read, ...shared }
      : { kind: 'registration', registration: { ...read, templateName }, ...shared };
  }
  const read = operation.name === 'create' ? readCreate(payload) : readCreateFromCsr(payload, encoding);
  return 'problem' in read ? { kind: 'unreadable', ...read, ...shared } : { kind: 'request', request: read, ...shared };
}

const maxNameLength = 36;
const longName = problem('InvalidRequest', `the name of a template has at most ${maxNameLength} characters`);

/** The fields of AWS, and no others: there are clients that take no more. */
function fieldsOf(
  answer: Extract<Answer, { status: 'accepted' | 'registered' }>,
  session: SessionView,
  now: number,
): PayloadFields {
  switch (answer.status) {
    case 'accepted': {
      const { certificateId, certificatePem, privateKeyPem } = answer.credentials;
      const key = privateKeyPem === undefined ? {} : { privateKey: privateKeyPem };
      const certificateOwnershipToken = session.ownershipToken(certificateId, now + ownershipMs);
      return { certificateId, certificatePem, ...key, certificateOwnershipToken };
    }
    case 'registered':
      return { deviceConfiguration: answer.deviceConfiguration, thingName: answer.thingName };
  }
}

function rejection({ code, message, retryAfterSeconds }: Problem): PayloadFields {
  const again = retryAfterSeconds === undefined ? '' : `; ask again in ${retryAfterSeconds} s`;
  return { statusCode: statusCodes[code], errorCode: code, errorMessage: message + again };
}

const waits = ({ position }: PendingAnswer): string =>
  `too many requests: AWS IoT creates a limited number of certificates a second. This request is number ${position} in the line ${keepsItsPlace}`;
const keepsItsPlace = 'and keeps its place: send it again with the same key';

/** Whether the errorMessage of a rejection says that the request waits: AWS has no other message for that. */
export const saysThatItWaits = (errorMessage: string): boolean => errorMessage.includes(keepsItsPlace);
