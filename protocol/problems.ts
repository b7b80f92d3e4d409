/** Every reason for which a device can be refused, with the status code that goes with it. */
export const statusCodes = {
  InvalidRequest: 400,
  InvalidCertificateOwnershipToken: 400,
  InvalidToken: 401,
  TokenExpired: 401,
  Forbidden: 403,
  AlreadyProvisioned: 409,
  KeyMismatch: 409,
  PayloadTooLarge: 413,
  InvalidCsr: 422,
  Throttled: 429,
  InternalFailure: 500,
  UpstreamUnavailable: 503,
} as const;

export type ErrorCode = keyof typeof statusCodes;

/** A refusal is a value. `message` is for the firmware engineer: what is wrong and what to do, no help to an attacker. */
export type Problem = { readonly code: ErrorCode; readonly message: string; readonly retryAfterSeconds?: number };

export function problem(code: ErrorCode, message: string, retryAfterSeconds?: number): Problem {
  return retryAfterSeconds === undefined ? { code, message } : { code, message, retryAfterSeconds };
}

/** What every rejection has in its payload: three fields always, as in AWS IoT Fleet Provisioning, so that one parser serves both. */
export function rejectionFields({ code, message, retryAfterSeconds }: Problem) {
  const retry = retryAfterSeconds === undefined ? {} : { retryAfter: retryAfterSeconds };
  return { statusCode: statusCodes[code], errorCode: code, errorMessage: message, ...retry };
}

/**
 * A rejection that has at most `room` bytes: with as much of its message as there is room for.
 * @param write makes the payload @returns undefined where there is no room for it without any message
 */
export function shortRejection(reason: Problem, room: number, write: (reason: Problem) => Buffer): Buffer | undefined {
  const payload = write(reason);
  if (payload.length <= room) return payload;
  if (reason.message === '') return undefined;
  // our words are ASCII; one at least, since a character may be escaped
  const message = cutText(reason.message, reason.message.length + Math.min(room - payload.length, -1));
  return shortRejection({ ...reason, message }, room, write);
}

/** The first `length` characters of a text; a number is never cut: a reader would take 321 of 3214 for the whole. */
export function cutText(text: string, length: number): string {
  const short = text.slice(0, Math.max(length, 0));
  return /^\d/.test(text.slice(short.length)) ? short.replace(/\d+$/, '') : short;
}

/** Refusals that more than one part of the gateway gives, in the same words wherever they are given. */
export const problems = {
  /** The same words for an unknown serial and for a wrong token: a refusal must not tell which serials exist. */
  invalidToken: problem('InvalidToken', 'the token does not fit this serial; check both against the enrolment list'),
  noToken: problem(
    'InvalidToken',
    'the request has no token: put it into the payload as "token", into CONNECT as the password with the serial as user name, or use it as TLS pre-shared key',
  ),
  otherSerialOfUserName: problem(
    'Forbidden',
    'this connection speaks for another serial, that of its CONNECT user name: connect with the serial of this device as user name, or without a password',
  ),
  otherSerialOfKey: problem(
    'Forbidden',
    'this connection speaks for another serial, the identity of its TLS pre-shared key; use one connection per device',
  ),
  otherSerialOfMessage: problem(
    'Forbidden',
    'this connection speaks for another serial, which it subscribed for or published for before; use one connection per device',
  ),
  tokenExpired: problem('TokenExpired', 'the token has expired; ask the fleet owner for a new one'),
  blocked: problem('Forbidden', 'this device is blocked; ask the gateway operator to unblock it'),
  otherTemplate: problem(
    'InvalidRequest',
    'this token has vended its certificate with another template, or with none: ask with that one, or without any, or have the device reissued',
  ),
  alreadyProvisioned: problem(
    'AlreadyProvisioned',
    'this token has vended its certificate and the time to ask again is over; ask the fleet owner to reissue',
  ),
  upstreamRefuses: problem(
    'UpstreamUnavailable',
    'the gateway cannot vend certificates at present; its operator has been told why. Ask again later with the same token',
    300,
  ),
  rowNeedsOperator: problem(
    'UpstreamUnavailable',
    "this device's entry in the table of devices must be mended first; the gateway operator has been told. Ask again later with the same token",
    300,
  ),
  gatewayNotApproved: problem(
    'UpstreamUnavailable',
    'this gateway is not approved yet; its operator has been told. Ask again later with the same token',
    60,
  ),
  sharedKey: problem(
    'InvalidCsr',
    'this public key is in use by another device: each device must make a key pair of its own',
  ),
  waitedTooLong: problem(
    'UpstreamUnavailable',
    'this request waited for longer than a day, since the gateway could not vend certificates. Ask again with the same token',
    60,
  ),
  expired: problem(
    'UpstreamUnavailable',
    'this request waited for longer than its Message Expiry Interval: ask again with the same token, and with a longer one',
    1,
  ),
  answerLost: problem(
    'InternalFailure',
    'the gateway has lost the answer to an earlier request with this token: ask again',
    1,
  ),
  keyMismatch: problem(
    'KeyMismatch',
    'this token has vended a certificate for another key: ask with the CSR of that key (without one, if the device sent none then), or have the device reissued',
  ),
  ownershipTokenUnfit: problem(
    'InvalidCertificateOwnershipToken',
    'this certificate ownership token is not of a certificate that this device holds: send the one that came with its certificate, on a connection with the same serial and registration token',
  ),
  waitingOver: problem(
    'InvalidCertificateOwnershipToken',
    'the certificate of this ownership token does not wait for a device: it has waited for an hour, or another device has it. Ask for another one',
  ),
  ownershipTokenEnded: problem(
    'InvalidCertificateOwnershipToken',
    'this certificate ownership token has ended, an hour after it was given: ask for the certificate again with the same key; the same one comes, with another ownership token',
  ),
  tooManyAttempts: problem(
    'Throttled',
    'too many tokens that do not fit were tried for this serial or from this address; check the token, and ask again',
    60,
  ),
  tooManyUnknown: problem(
    'Throttled',
    'too many devices present a token at this moment that this gateway does not know yet: keep the token, and ask again',
    3,
  ),
  claimUnknown: problem(
    'InvalidToken',
    'the client certificate of this connection is no claim certificate of this gateway; its operator makes one with "cvm claims create", or give the device a user name and a password',
  ),
  claimRevoked: problem('Forbidden', 'this claim certificate is revoked: ask the fleet owner for another one'),
  claimEnded: problem('TokenExpired', 'this claim certificate has ended: ask the fleet owner for another one'),
  claimUsedUp: problem(
    'Forbidden',
    'this claim certificate has served as many devices as it may: ask the fleet owner for another one',
  ),
  claimsTooFast: problem(
    'Throttled',
    'this claim certificate asks for more certificates than it may, in an hour or waiting for their device: ask again later',
    600,
  ),
  claimsOtherTemplate: problem(
    'Forbidden',
    'this claim certificate may not be used with this provisioning template: use the one that it was made for',
  ),
  claimsOtherSerial: problem(
    'Forbidden',
    'this claim certificate does not stand for a device of this serial: check the serial, and that the device is enrolled for the group of the claim certificate',
  ),
  claimsProvisioned: problem(
    'AlreadyProvisioned',
    'this device has had its certificate, and a claim certificate gives no other one: ask the fleet owner to reissue, and send the new registration token',
  ),
  retained: problem('InvalidRequest', 'it must not be a retained message: publish with the retain flag off'),
  tooManyWaiting: problem('Throttled', 'too many requests of this connection wait for their answer', 5),
  otherKeyWaits: problem(
    'Throttled',
    'a request of this device for another key, or with another template, waits for its answer: wait for that answer before asking for this one',
    10,
  ),
  tooManyMessages: problem('Throttled', 'this device asks too fast; wait for an answer before asking again', 10),
  acknowledgeLater: problem(
    'Throttled',
    'acknowledge on the connection that got the certificate, or again in a moment',
    5,
  ),
} as const;

/** Refusals whose text is written for the case, by what all such texts have. A text never quotes what a device sent, so none can pass for another. */
const writtenForTheCase = {
  packetTooSmall: /^\d+ bytes are needed in a packet\b/,
  emptyToken: /(?:^|; )"token": the token is empty(?:;|$)/,
  malformedToken: /(?:^|; )"token": the token |^the password of CONNECT is no token: /,
} as const;

export type ProblemName = keyof typeof problems | keyof typeof writtenForTheCase;

export const problemNames = [...Object.keys(problems), ...Object.keys(writtenForTheCase)] as readonly ProblemName[];

const nameByMessage = new Map(Object.entries(problems).map(([name, { message }]) => [message, name as ProblemName]));

/** Replies cannot come in packets of the size that the device takes. @param least the smallest that would do, in bytes; the number comes first: beside a long topic there is room for little more */
export const packetTooSmall = (least: number): Problem =>
  problem('InvalidRequest', `${least} bytes are needed in a packet for this serial`);

/** The name of a refusal, whatever its `retryAfter`; undefined for one that says no more than its code. */
export const problemName = ({ message }: Problem): ProblemName | undefined =>
  nameByMessage.get(message) ??
  (Object.keys(writtenForTheCase) as (keyof typeof writtenForTheCase)[]).find((name) =>
    writtenForTheCase[name].test(message),
  );

/** The part of a refusal that is stored: no text, since a text may quote what the device sent. */
export function refusalOf(reason: Problem): { readonly errorCode: ErrorCode; readonly problem?: ProblemName } {
  const name = problemName(reason);
  return { errorCode: reason.code, ...(name === undefined ? {} : { problem: name }) };
}
