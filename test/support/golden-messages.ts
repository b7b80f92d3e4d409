import { encode } from 'cborg';
import { checkCsr } from '../../broker/csr.ts';
import { Session } from '../../broker/session.ts';
import { createTimeAnswers } from '../../broker/time-answers.ts';
import type { Answer } from '../../protocol/answer.ts';
import { cvm } from '../../protocol/cvm/dialect.ts';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { type Dialect, maxPayloadBytes, type SessionView } from '../../protocol/dialect.ts';
import { type Encoding, writePayload } from '../../protocol/encoding.ts';
import { fleetProvisioning } from '../../protocol/fleet-provisioning/dialect.ts';
import { type Problem, problems } from '../../protocol/problems.ts';
import { encodeTime, encodeTimeRefusal, timeReplyTopic, timeTopic } from '../../protocol/time.ts';
import { createLog } from '../../runtime/log.ts';
import { makeOwnershipToken } from '../../sealing/ownership.ts';
import { deriveReplyKeys } from '../../sealing/replies.ts';
import { create, createFromCsr, provision } from './fleet-device.ts';
import type { GoldenMessage } from './golden.ts';
import { configuration, credentialsOf, csr, type GoldenFlow, serial, time, token } from './golden-credentials.ts';
import { goldenSigner, goldenTime } from './time.ts';

/*
 * Every message of both dialects, in both encodings, made by the gateway's own code from fixed keys, certificates, tokens and times. Requests
 * are what a device would send; every answer is written for the request that stands before it.
 */

const encodings = ['json', 'cbor'] as const;
type Fields = Readonly<Record<string, unknown>>;
const bytesOf = (fields: Fields, encoding: Encoding) =>
  Buffer.from(encoding === 'json' ? JSON.stringify(fields) : encode(fields));

const keys = deriveReplyKeys(serial, token);
const sessionOf = (encoding: Encoding): SessionView => ({
  serial,
  encoding,
  ownershipToken: (certificateId, endsAt) => makeOwnershipToken(keys, certificateId, endsAt),
});

/** The packets that answer this request; an only one has no number. */
function answered(
  dialect: Dialect<never>,
  asked: GoldenMessage,
  answer: Answer,
  encoding: Encoding,
  maxPacket?: number,
) {
  const session = { ...sessionOf(encoding), maxPacket };
  const message = dialect.read(asked.topic, asked.payload, session);
  if (message === undefined || (message.kind === 'unreadable' && answer.status !== 'rejected'))
    throw new Error(`${asked.name} is not read`);
  const written = dialect.write(answer, message.form, session, time * 1000);
  if (written === undefined) throw new Error(`no answer to ${asked.name} fits`);
  const { topic } = written;
  if ('payload' in written) return [{ topic, payload: written.payload }];
  const { first, last, part } = written.parts;
  return Array.from({ length: last - first + 1 }, (_, index) => ({ topic, payload: part(first + index) }));
}

/** The refusal of a payload that cannot be read, in the gateway's own words. */
function unreadable(dialect: Dialect<never>, { topic, payload }: GoldenMessage): Problem {
  const message = dialect.read(topic, payload, sessionOf('json'));
  if (message?.kind !== 'unreadable') throw new Error(`${topic} is read`);
  return message.problem;
}

function refusedCsr(): Problem {
  const checked = checkCsr('AAAA');
  if (checked.ok) throw new Error('a CSR that is none is taken');
  return checked.problem;
}

const pending: Answer = { status: 'pending', position: 412, etaSeconds: 43, retryAfterSeconds: 51 };
const unknown: Answer = { status: 'pending', position: 412, retryAfterSeconds: 95 };

/** What each code is given for, as an example; that of a payload which cannot be read, apart. */
const refusals = (): readonly Problem[] => [
  problems.invalidToken,
  problems.tokenExpired,
  problems.blocked,
  problems.alreadyProvisioned,
  problems.keyMismatch,
  refusedCsr(),
  problems.tooManyAttempts,
  problems.answerLost,
  problems.upstreamRefuses,
];

/** A payload that is too long, and begins as JSON or CBOR does. */
const tooLong = (encoding: Encoding) => Buffer.alloc(maxPayloadBytes + 1, encoding === 'cbor' ? 0xa0 : ' ');

/** Messages that the page shows together. */
export type GoldenGroup = { readonly name: string; readonly messages: readonly GoldenMessage[] };

const der = Buffer.from(csr.replace(/-----[^-]+-----|\s/g, ''), 'base64');

/** What a request has beside token and id, by the flow. */
const flowFields: Readonly<Record<GoldenFlow, (encoding: Encoding, isDer: boolean) => Fields>> = {
  rsa: () => ({}),
  ec: () => ({ key: 'ec' }),
  csr: (encoding, isDer) => ({ csr: !isDer ? csr : encoding === 'cbor' ? der : der.toString('base64') }),
};
const flowWords = {
  rsa: 'AWS IoT Core makes the key pair',
  ec: 'the gateway makes the key pair',
  csr: 'the device has made its key pair',
} as const;
const formats = {
  '': { fields: {}, words: '' },
  '-der': { fields: { format: 'der' }, words: ', DER' },
  '-der-no-root-ca': { fields: { format: 'der', rootCa: false }, words: ', DER, without the root CA' },
  '-compact': { fields: { format: 'compact', rootCa: false }, words: ', compact, without the root CA' },
} as const;
const basic = { token, id: '7' };

const file = (name: string, encoding: Encoding) => `${name}.${encoding}`;
const cvmDialect = cvm as Dialect<never>;

function cvmRequest(name: string, what: string, fields: Fields, encoding: Encoding): GoldenMessage {
  return { name: file(`cvm/${name}`, encoding), what, topic: requestTopic(serial), payload: bytesOf(fields, encoding) };
}

function cvmFlows(flow: GoldenFlow): GoldenGroup[] {
  const asked: GoldenMessage[] = [];
  const accepted: GoldenMessage[] = [];
  for (const [suffix, { fields, words }] of Object.entries(formats))
    for (const encoding of encodings) {
      if (suffix === '-compact' && encoding === 'json') continue;
      const all = { ...basic, ...flowFields[flow](encoding, suffix !== ''), ...fields };
      const request = cvmRequest(`request-${flow}${suffix}`, `${flowWords[flow]}${words}`, all, encoding);
      asked.push(request);
      const answer: Answer = { status: 'accepted', credentials: credentialsOf(flow) };
      for (const packet of answered(cvmDialect, request, answer, encoding)) {
        const what = `accepted, the answer to request-${flow}${suffix}`;
        accepted.push({ name: file(`cvm/accepted-${flow}${suffix}`, encoding), what, ...packet });
      }
    }
  return [
    { name: `cvm request ${flow}`, messages: asked },
    { name: `cvm accepted ${flow}`, messages: accepted },
  ];
}

const otherRequests: readonly (readonly [name: string, what: string, fields: Fields])[] = [
  ['request-token-in-connect', 'the CONNECT, or the pre-shared key, has proved the token', {}],
  ['request-no-pending', 'without word of the line', { ...basic, pending: false }],
  ['request-max-packet', 'packets of 1024 bytes at most', { ...basic, key: 'ec', maxPacket: 1024 }],
  ['request-part', 'from part 2 on', { ...basic, key: 'ec', maxPacket: 1024, part: 2 }],
];

const byTemplate = { template: 'pump', parameters: { SerialNumber: serial, Place: 'north' } };
const templateForms = {
  '': { fields: {}, words: '' },
  '-compact': { fields: { format: 'compact', rootCa: false }, words: ', compact, without the root CA' },
} as const;

/** A template is named: the reply has its configuration. */
function cvmTemplate(encoding: Encoding): { asked: GoldenMessage[]; accepted: GoldenMessage[] } {
  const forms = Object.entries(templateForms).filter(([suffix]) => suffix === '' || encoding === 'cbor');
  const asked = forms.map(([suffix, { fields, words }]) => {
    const all = { ...basic, ...flowFields.csr(encoding, suffix !== ''), ...byTemplate, ...fields };
    return cvmRequest(`request-template${suffix}`, `by a provisioning template${words}`, all, encoding);
  });
  const answer: Answer = {
    status: 'accepted',
    credentials: { ...credentialsOf('csr'), deviceConfiguration: configuration },
  };
  const accepted = forms.flatMap(([suffix], index) =>
    answered(cvmDialect, asked[index] as GoldenMessage, answer, encoding).map((packet) => ({
      name: file(`cvm/accepted-template${suffix}`, encoding),
      what: `accepted, the answer to request-template${suffix}`,
      ...packet,
    })),
  );
  return { asked, accepted };
}

/** A reply in parts; test/golden/small-packets has those of the smallest packets. */
function cvmParts(encoding: Encoding): GoldenMessage[] {
  const [, , [name, what, fields] = ['', '', {}]] = otherRequests;
  const request = cvmRequest(name, what, fields, encoding);
  const answer: Answer = { status: 'accepted', credentials: credentialsOf('ec') };
  return answered(cvmDialect, request, answer, encoding, 1024).map((packet, number) => ({
    name: file(`cvm/part-${number}`, encoding),
    what: `part ${number} of the answer to request-max-packet`,
    ...packet,
  }));
}

function cvmAnswers(encoding: Encoding): { pending: GoldenMessage[]; rejected: GoldenMessage[] } {
  const request = cvmRequest('request-rsa', '', basic, encoding);
  const one = (name: string, what: string, answer: Answer, asked = request): GoldenMessage[] =>
    answered(cvmDialect, asked, answer, encoding).map((packet) => ({
      name: file(`cvm/${name}`, encoding),
      what,
      ...packet,
    }));
  const refused = (problem: Problem, asked = request) =>
    one(`rejected-${problem.code}`, `rejected, ${problem.code}`, { status: 'rejected', problem }, asked);
  const wrong = [
    { ...request, payload: bytesOf({ ...basic, key: 'dsa' }, encoding) },
    { ...request, payload: tooLong(encoding) },
  ];
  return {
    pending: [
      ...one('pending', 'number 412 in the line', pending),
      ...one('pending-unknown', 'the wait has no known end: AWS is away, for example', unknown),
    ],
    rejected: [
      ...wrong.flatMap((asked) => refused(unreadable(cvmDialect, asked), asked)),
      ...refusals().flatMap((problem) => refused(problem)),
    ],
  };
}

function acknowledgement(encoding: Encoding): GoldenMessage {
  const { certificateId } = credentialsOf('ec');
  // as the simulator writes it
  const payload = writePayload({ certificateId }, encoding);
  return {
    name: file('cvm/ack', encoding),
    what: 'certificate and key are in flash',
    topic: ackTopic(serial),
    payload,
  };
}

function timeMessages(encoding: Encoding): GoldenMessage[] {
  const signature = Buffer.from(goldenTime.signature, 'hex');
  return [
    {
      name: file('cvm/time-question', encoding),
      what: 'what time is it?',
      topic: timeTopic(goldenTime.nonce),
      payload: bytesOf({}, encoding),
    },
    {
      name: file('cvm/time-answer', encoding),
      what: 'the time, signed',
      topic: timeReplyTopic,
      payload: encodeTime(goldenTime.time, signature, encoding),
    },
    {
      name: file('cvm/time-rejected', encoding),
      what: 'rejected, Throttled',
      topic: timeReplyTopic,
      payload: encodeTimeRefusal(askedTooOften(), encoding, 4096) ?? Buffer.alloc(0),
    },
  ];
}

/** What a connection gets that has no question left. */
function askedTooOften(): Problem {
  const limits = { timeQuestions: { burst: 0, perSecond: 0 }, log: createLog('silent') };
  const answer = createTimeAnswers(goldenSigner, limits).answer(unguardedSession(), goldenTime.nonce, time * 1000);
  if ('time' in answer) throw new Error('it is answered');
  return answer.problem;
}

const unguardedSession = () =>
  new Session({
    remoteAddress: '127.0.0.1',
    address: '127.0.0.1',
    send: async () => {},
    deliver: async () => {},
    onVerified() {},
  });

const both = <T>(make: (encoding: Encoding) => readonly T[]): T[] => encodings.flatMap((encoding) => make(encoding));

/** Our own dialect; in the order of docs/protocol.md. */
export const cvmGroups: readonly GoldenGroup[] = [
  ...(['rsa', 'ec', 'csr'] as const).flatMap(cvmFlows),
  {
    name: 'cvm other requests',
    messages: both((encoding) => otherRequests.map(([name, what, fields]) => cvmRequest(name, what, fields, encoding))),
  },
  { name: 'cvm request template', messages: both((encoding) => cvmTemplate(encoding).asked) },
  { name: 'cvm accepted template', messages: both((encoding) => cvmTemplate(encoding).accepted) },
  { name: 'cvm parts', messages: both(cvmParts) },
  { name: 'cvm pending', messages: both((encoding) => cvmAnswers(encoding).pending) },
  { name: 'cvm rejected', messages: both((encoding) => cvmAnswers(encoding).rejected) },
  { name: 'cvm acknowledgement', messages: both((encoding) => [acknowledgement(encoding)]) },
  { name: 'cvm time', messages: both(timeMessages) },
];

const fleetDialect = fleetProvisioning as Dialect<never>;
const template = 'pump';

function fleetRequests(encoding: Encoding) {
  const request = (name: string, what: string, topic: string, payload: Buffer): GoldenMessage => ({
    name: file(`fleet-provisioning/${name}`, encoding),
    what,
    topic,
    payload,
  });
  const { certificateId } = credentialsOf('csr');
  const certificateOwnershipToken = makeOwnershipToken(keys, certificateId, time * 1000 + 3_600_000);
  const registration = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
  return {
    create: request('create', 'AWS IoT Core makes the key pair', create(encoding), Buffer.alloc(0)),
    createEmpty: request(
      'create-object',
      'the same, as other clients send it',
      create(encoding),
      bytesOf({}, encoding),
    ),
    fromCsr: request(
      'create-from-csr',
      'the device has made its key pair',
      createFromCsr(encoding),
      bytesOf({ certificateSigningRequest: csr }, encoding),
    ),
    provision: request(
      'provision',
      'the certificate is stored; register the thing',
      provision(template, encoding),
      bytesOf(registration, encoding),
    ),
  };
}

function fleetAnswers(encoding: Encoding): { accepted: GoldenMessage[]; rejected: GoldenMessage[] } {
  const { create: keysAsked, fromCsr, provision: registration } = fleetRequests(encoding);
  const one = (name: string, what: string, asked: GoldenMessage, answer: Answer): GoldenMessage[] =>
    answered(fleetDialect, asked, answer, encoding).map((packet) => ({
      name: file(`fleet-provisioning/${name}`, encoding),
      what,
      ...packet,
    }));
  const accepted = (flow: GoldenFlow): Answer => ({ status: 'accepted', credentials: credentialsOf(flow) });
  const registered = (deviceConfiguration: Readonly<Record<string, string>>): Answer => ({
    status: 'registered',
    thingName: serial,
    deviceConfiguration,
  });
  const refused = (problem: Problem, asked = fromCsr) =>
    one(`rejected-${problem.code}`, `rejected, ${problem.code}`, asked, { status: 'rejected', problem });
  const wrong = [
    { ...fromCsr, payload: bytesOf({}, encoding) },
    { ...fromCsr, payload: tooLong(encoding) },
  ];
  return {
    accepted: [
      ...one('create-accepted', 'the answer to create', keysAsked, accepted('rsa')),
      ...one('create-from-csr-accepted', 'the answer to create-from-csr', fromCsr, accepted('csr')),
      ...one('provision-accepted', 'the answer to provision', registration, registered({})),
      ...one(
        'provision-accepted-configuration',
        'with what the template says',
        registration,
        registered(configuration),
      ),
    ],
    rejected: [
      ...refused(problems.ownershipTokenUnfit, registration),
      ...wrong.flatMap((asked) => refused(unreadable(fleetDialect, asked), asked)),
      ...refusals().flatMap((problem) => refused(problem)),
      ...one('rejected-Throttled-in-line', 'rejected, Throttled: AWS has no room', fromCsr, pending),
    ],
  };
}

/** AWS IoT Fleet Provisioning; in the order of docs/fleet-provisioning.md. */
export const fleetGroups: readonly GoldenGroup[] = [
  { name: 'fleet requests', messages: both((encoding) => Object.values(fleetRequests(encoding))) },
  { name: 'fleet accepted', messages: both((encoding) => fleetAnswers(encoding).accepted) },
  { name: 'fleet rejected', messages: both((encoding) => fleetAnswers(encoding).rejected) },
];
