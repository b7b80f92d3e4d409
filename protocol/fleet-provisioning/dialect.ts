import type { Answer, PendingAnswer } from '../answer.ts';
import type { Dialect, Message, SessionView } from '../dialect.ts';
import { type Encoding, type PayloadFields, writePayload } from '../encoding.ts';
import { type Problem, problem, statusCodes } from '../problems.ts';
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
    '$aws/certificates/create/…, $aws/certificates/create-from-csr/… and $aws/provisioning-templates/<name>/provision/…',
  read(topic, payload) {
    const operation = operationOf(topic);
    return operation && readMessage(topic, operation, payload);
  },
  // answers come to the connection that asked in any case, so a filter gives nothing more, and needs no serial
  readFilter: (filter) => (isAnswerFilter(filter) ? { serial: undefined, copyForm: undefined } : undefined),
  // in the words of AWS: too many requests. A client that hears nothing gives up as well, and learns nothing
  whenPending: (_form, { etaSeconds }) =>
    etaSeconds !== undefined && etaSeconds <= patienceSeconds ? 'say-nothing' : 'end',
  write(answer, { topic, encoding }, session, now) {
    const outcome = answer.status === 'rejected' || answer.status === 'pending' ? 'rejected' : 'accepted';
    return { topic: `${topic}/${outcome}`, payload: writePayload(fieldsOf(answer, session, now), encoding) };
  },
};

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
function fieldsOf(answer: Answer, session: SessionView, now: number): PayloadFields {
  switch (answer.status) {
    case 'accepted': {
      const { certificateId, certificatePem, privateKeyPem } = answer.credentials;
      const key = privateKeyPem === undefined ? {} : { privateKey: privateKeyPem };
      const certificateOwnershipToken = session.ownershipToken(certificateId, now + ownershipMs);
      return { certificateId, certificatePem, ...key, certificateOwnershipToken };
    }
    case 'registered':
      return { deviceConfiguration: answer.deviceConfiguration, thingName: answer.thingName };
    case 'rejected':
      return rejection(answer.problem);
    case 'pending':
      return rejection(problem('Throttled', waits(answer), answer.retryAfterSeconds));
  }
}

function rejection({ code, message, retryAfterSeconds }: Problem): PayloadFields {
  const again = retryAfterSeconds === undefined ? '' : `; ask again in ${retryAfterSeconds} s`;
  return { statusCode: statusCodes[code], errorCode: code, errorMessage: message + again };
}

const waits = ({ position }: PendingAnswer): string =>
  `too many requests: AWS IoT creates a limited number of certificates a second. This request is number ${position} in the line and keeps its place: send it again with the same key`;
