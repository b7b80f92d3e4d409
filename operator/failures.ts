import { type ErrorCode, statusCodes } from '../protocol/problems.ts';

/** A usual failure, for an electrician: what it is, why, and what to do. `SERIAL` stands for the device's serial. */
export type Failure = { readonly title: string; readonly cause: string; readonly cure: string };

/**
 * The usual failures of a device, in the order of its way: network and TLS, MQTT, token, row, gateway, AWS, delivery. `cvm explain`, the console's help and
 * docs/explain.md have them from here. An id stays: people write scripts with it.
 */
export const failures = {
  'never-seen': {
    title: 'never seen',
    cause: 'the device is enrolled, and no connection has named its serial in the last days',
    cure: "check power and network of the device, that it connects to this gateway's address at port 8883 (or what CVM_MQTT_PORT says), and that its serial is spelled as here; a firewall between must let the port through",
  },
  'not-tls': {
    title: 'no TLS',
    cause: 'the device begins with something else than TLS: plain MQTT, or HTTP',
    cure: 'switch TLS on in the firmware, and use MQTT over TLS at port 8883 (or what CVM_MQTT_PORT says; no WebSocket)',
  },
  'tls-version': {
    title: 'TLS too old',
    cause: 'the device speaks no version of TLS that the gateway takes: TLS 1.2 or 1.3',
    cure: 'update the TLS library of the firmware, or switch TLS 1.2 on in it',
  },
  'no-shared-cipher': {
    title: 'no shared cipher',
    cause: 'the device offers no cipher suite, curve or signature that the gateway has',
    cure: 'docs/protocol.md lists what is on offer; firmware with CBC suites only needs CVM_TLS_SUITES=old, firmware that has RSA only needs CVM_TLS_KEY_TYPE=both',
  },
  'untrusted-ca': {
    title: "the site's CA is not trusted",
    cause: 'the device does not trust the certificate of the gateway',
    cure: 'put the site CA into the firmware ("cvm tls ca" prints it; firmware that offers RSA only needs "cvm tls ca --rsa"), and let the device connect by a name that "cvm tls show" lists',
  },
  'clock-1970': {
    title: 'wrong clock',
    cause:
      'the device takes the certificate of the gateway for not valid: its clock is wrong (without a battery it shows 1970), or it connects by a name that is not in the certificate',
    cure: 'connect by a name that "cvm tls show" lists, and set the clock of the device, let the firmware ask the gateway for the time (docs/clocks.md), or use a TLS pre-shared key, which needs no clock',
  },
  'handshake-ended': {
    title: 'TLS handshake ended',
    cause: 'the device ended the TLS handshake, or did not finish it in time',
    cure: 'check that it has the site CA, connects by a name in the certificate ("cvm tls show"), and has the right time; with mbedTLS, max_fragment_length must be 1024 or more',
  },
  'psk-unknown': {
    title: 'pre-shared key not known here',
    cause:
      'the device uses its token as TLS pre-shared key, and this gateway has no key of this serial: the device was enrolled before the gateway was approved, or for another one',
    cure: 'if the device was enrolled a moment ago, wait ten seconds. Otherwise make a new token: cvm devices reissue SERIAL. Its key is sealed to all gateways that are approved now',
  },
  'psk-wrong': {
    title: 'wrong pre-shared key',
    cause: "the TLS pre-shared key of the device was not made of this serial's token",
    cure: 'check that the device has the latest token, and derives the key as docs/protocol.md says (it has a test vector); for a new token: cvm devices reissue SERIAL',
  },
  'psk-unused': {
    title: 'pre-shared key not used',
    cause:
      'the device has a TLS pre-shared key, but the TLS handshake used the certificate of the gateway, so the key proved nothing',
    cure: 'offer TLS_AES_128_GCM_SHA256 (the key goes with SHA-256) and use the serial as identity of the key',
  },
  'mqtt-refused': {
    title: 'MQTT not acceptable',
    cause:
      'the gateway closed the connection: the device sent MQTT that the gateway does not take, such as a will, or sent no CONNECT in time',
    cure: 'look for the serial in the log of the broker, which has the exact reason; docs/protocol.md says what the gateway takes',
  },
  'keep-alive': {
    title: 'silent for too long',
    cause: 'nothing came from the device for one and a half times its keep-alive, so the connection was closed',
    cure: 'let the firmware send PINGREQ in time, also while it waits for its certificate or writes to flash, or ask for a longer keep-alive in CONNECT',
  },
  'unreadable-request': {
    title: 'request not readable',
    cause: 'the payload or the topic of the request is not as the gateway expects it',
    cure: 'send one JSON object or CBOR map to cvm/request/SERIAL as docs/protocol.md shows; the reply to the device, and the log of the broker, say what is wrong',
  },
  'template-unfit': {
    title: 'template does not fit',
    cause:
      'the provisioning template that the device names is not at this gateway, lacks a parameter, or is another one than at first',
    cure: 'look for the serial in the log of the worker, which has the template and the exact reason; "cvm templates list" shows the names, and workers read the files when they start',
  },
  'ownership-token': {
    title: 'ownership token not valid',
    cause:
      'the certificate ownership token that the device sends (Fleet Provisioning) is missing, has ended after an hour, or is of another device',
    cure: 'let the firmware ask for its certificate again, with the same key, and send the ownership token that comes with it',
  },
  'no-token': {
    title: 'no token',
    cause: 'the device asked without its token',
    cure: 'put the token into the payload as "token", into CONNECT as the password with the serial as user name, or use it as TLS pre-shared key',
  },
  'empty-token': {
    title: 'token empty',
    cause:
      'the device sends "token" with nothing in it: most likely its token was never written into it, or its firmware reads it from the wrong place',
    cure: 'write the token of its label into the device, and look where the firmware reads it; where the label is lost, make a new one: cvm devices reissue SERIAL',
  },
  'malformed-token': {
    title: 'token damaged',
    cause:
      'what the device sends can be no token: it has a space, a line end, quotes or a letter with an accent in it, or is longer than 512 characters',
    cure: 'write the token into the device once more, exactly as on its label, without quotes, spaces and line end; the reply to the device says what is wrong, and where',
  },
  'wrong-token': {
    title: 'wrong token',
    cause:
      'the token of the device does not belong to this serial: it is mistyped, that of another device, or an older one',
    cure: 'compare it with the enrolment list (length, O and 0, l and 1, a space at the end); where it is lost, make a new one and put that into the device: cvm devices reissue SERIAL',
  },
  'unknown-serial': {
    title: 'serial not enrolled',
    cause: 'there is no device of this serial in the table',
    cure: 'compare it with the label of the device and the enrolment list; where it is right: cvm devices add SERIAL',
  },
  'other-serial': {
    title: 'two serials on one connection',
    cause: 'the device named two serials on one connection',
    cure: 'use one connection for each device, and the same serial in topic, user name and key identity',
  },
  'too-many-attempts': {
    title: 'too many wrong tokens',
    cause:
      'too many wrong tokens were tried for this serial, or from the address of the device; the gateway makes it wait',
    cure: 'find the device that tries (its address is in the timeline) and correct its token; the right device is let through within a minute',
  },
  'too-many-unknown': {
    title: 'many new devices at once',
    cause:
      'more devices than the gateway checks at a time came with a token that it has not seen yet, as after a power cut of a new site, or somebody tries tokens; nothing says that the token of this device is wrong',
    cure: 'wait: the device asks again by itself, and has its turn within minutes. Where it lasts, "cvm audit show" has the addresses that try: switch off or correct what is there',
  },
  'asks-too-fast': {
    title: 'asks too fast',
    cause: 'the device sends more requests than it may, or does not wait for the answer to the one before',
    cure: 'let the firmware wait for the answer, and at least for the seconds of "retryAfter", before it asks again',
  },
  'token-expired': {
    title: 'token expired',
    cause: 'the token of the device was good until a date that has passed',
    cure: 'make a new token and put it into the device: cvm devices reissue SERIAL',
  },
  blocked: {
    title: 'blocked',
    cause: 'an operator has blocked the device',
    cure: 'find out who blocked it, and why: cvm audit show --serial SERIAL. To let it work again: cvm devices unblock SERIAL',
  },
  'already-provisioned': {
    title: 'token spent',
    cause:
      'the token has vended its certificate, and the time in which the device may ask again is over: the device has lost its certificate, or never stored it',
    cure: 'if the device lost it, make a new token and put that into the device: cvm devices reissue SERIAL. If another device has used the token, block this one first: cvm devices block SERIAL',
  },
  'key-mismatch': {
    title: 'other key than before',
    cause:
      'the token has vended a certificate for one key, and the device now asks with another key, or asks once with a CSR and once without',
    cure: 'let the firmware keep its key pair until it has its certificate, and ask with the same one; or start anew: cvm devices reissue SERIAL',
  },
  'bad-csr': {
    title: 'CSR refused',
    cause:
      'the certificate signing request of the device cannot be used: it cannot be read, its signature is wrong, its key is too weak, or another device has the same key',
    cure: 'let the device make a P-256 or RSA-2048 key pair of its own, and sign the CSR with it; the reply to the device says what is wrong',
  },
  'other-site': {
    title: 'enrolled for another site',
    cause: 'the row of the device names another site than that of this gateway',
    cure: 'if the device belongs here, give it the site of this gateway: cvm devices move SERIAL --site NAME, or --no-site where CVM_SITE is not set',
  },
  'row-broken': {
    title: 'row must be mended',
    cause: 'another tool wrote something into the row of the device that the gateway cannot read',
    cure: 'cvm devices show SERIAL says what to correct',
  },
  'being-removed': {
    title: 'being removed',
    cause: 'an operator began to remove the device, and the removal did not finish',
    cure: 'finish it: cvm devices remove SERIAL',
  },
  'redis-away': {
    title: 'Redis away',
    cause: 'the gateway cannot reach Redis, so it can store no request',
    cure: 'start Redis, or correct REDIS_URL; devices ask again by themselves',
  },
  'redis-full': {
    title: 'Redis full',
    cause: 'Redis takes no writes: its memory or its disk is full, so the gateway can store no request',
    cure: 'raise maxmemory of Redis, free space on its disk, or remove what others keep in it; devices ask again by themselves',
  },
  'broker-away': {
    title: 'no broker',
    cause: 'no broker runs, so no device can connect',
    cure: 'start it (cvm broker, or cvm up); where it ends at once, the last line of its log says what to mend',
  },
  'worker-away': {
    title: 'no worker',
    cause: 'the request is stored, and no worker takes it',
    cure: 'start a worker (cvm worker) with the same REDIS_URL; where one runs, see its log',
  },
  'gateway-not-approved': {
    title: 'gateway not approved',
    cause: 'the gateway where the device asks is not approved in the table',
    cure: 'look at the gateways and approve it: cvm tls gateways, cvm tls approve ID',
  },
  'aws-away': {
    title: 'AWS does not answer',
    cause: 'the gateway cannot reach AWS, or AWS fails',
    cure: 'check the internet connection, DNS and proxy of the gateway; the request waits, and is answered when AWS is back',
  },
  'aws-throttled': {
    title: 'AWS throttles',
    cause: 'AWS refuses calls since too many come at once; the request waits and is tried again',
    cure: 'wait; where it lasts, something else in the account uses up the quota, or CVM_QUOTAS is above that of the account: docs/quotas.md',
  },
  'aws-denied': {
    title: 'AWS permission missing',
    cause: 'the IAM identity of the gateway may not make a call that it needs',
    cure: 'allow it; "cvm aws policy" prints the IAM policy with all that the gateway needs',
  },
  'aws-credentials': {
    title: 'AWS credentials',
    cause: 'the AWS credentials of the gateway, or its region, are missing, wrong or expired',
    cure: 'renew them (with SSO: "aws sso login"), and restart the worker where they are in its environment',
  },
  'gateway-clock': {
    title: 'clock of the gateway',
    cause: 'AWS refuses the calls of the gateway since the clock of its machine is wrong',
    cure: 'set the clock of the gateway, best by NTP',
  },
  'policy-missing': {
    title: 'IoT policy missing',
    cause:
      'AWS IoT Core does not have the policy, thing type or thing group that the row of the device, or CVM_POLICY_NAME, names',
    cure: 'create it ("cvm aws setup" makes the policy), or correct the name; the device asks again by itself',
  },
  'table-missing': {
    title: 'table missing',
    cause: 'there is no association table of this name in this region',
    cure: 'make it with "cvm aws setup" if it never existed; if it was deleted, restore it (docs/restoring.md), since a new one knows no device; or correct CVM_TABLE or AWS_REGION',
  },
  'aws-refused': {
    title: 'AWS refuses',
    cause: 'AWS refuses a call for this device until a person changes something',
    cure: 'the log of the worker has the message of AWS, with the cure',
  },
  'packet-too-large': {
    title: 'reply too large for the device',
    cause: 'the reply does not fit into the largest MQTT packet that the device takes, not even in parts',
    cure: 'name a larger "maxPacket" in the request (128 bytes or more), or in MQTT 5 a larger Maximum Packet Size in CONNECT',
  },
  'left-before-answer': {
    title: 'left before the answer',
    cause: 'the device closed its connection before its answer was there',
    cure: 'let the firmware stay connected until the answer comes, or come back after the seconds of "retryAfter" that a "pending" reply has; when it asks again with the same token, it gets the same certificate',
  },
  'not-acknowledged': {
    title: 'not acknowledged',
    cause:
      'the certificate was sent, and the device did not acknowledge it: the device may have lost the certificate, or its firmware sends no acknowledgement',
    cure: 'look whether the device connects to AWS IoT Core; its firmware should publish {"certificateId": "…"} to cvm/ack/SERIAL. Until the replay window ends, the device may ask again with the same token',
  },
  'never-came-alive': {
    title: 'never connected to AWS',
    cause:
      'the device has its certificate and has never connected to AWS IoT Core: it cannot reach AWS, is switched off, or cannot use what it stored',
    cure: 'check the power of the device, and that its network allows TCP port 8883 (or 443) to AWS ("cvm doctor" tries that from here). Check that its firmware uses the endpoint and the root CA that came with the certificate, has the serial as client id, and has the right time. If all this is right, a person must look at the device on site. For another certificate: cvm devices reissue SERIAL',
  },
} as const satisfies Readonly<Record<string, Failure>>;

export type FailureId = keyof typeof failures;

/** States that are no failure: all is well, or the device only has to wait. */
export const goodStates = {
  fine: {
    title: 'all is well',
    cause: 'the device has its certificate',
    cure: '',
  },
  'awaits-connection': {
    title: 'has yet to connect to AWS',
    cause: 'the device got its certificate a short time ago, and has not connected to AWS IoT Core yet',
    cure: 'wait a quarter of an hour: most devices connect within a minute, and some restart first',
  },
  'in-line': {
    title: 'waits in the line',
    cause:
      'the request waits for its turn: AWS limits the certificates of a second, and devices get theirs in the order in which they asked',
    cure: 'wait; "cvm status" shows how fast the line moves',
  },
  'being-provisioned': {
    title: 'being provisioned',
    cause: 'a worker works on this request now',
    cure: 'wait some seconds',
  },
  answered: {
    title: 'just got its certificate',
    cause: 'the certificate was sent a moment ago; the device has not acknowledged it yet',
    cure: 'wait a minute',
  },
} as const satisfies Readonly<Record<string, Failure>>;

export type GoodStateId = keyof typeof goodStates;

/** The failure that stands behind an error code, where the code alone tells it. */
export const failureOfCode: Readonly<Record<ErrorCode, FailureId>> = {
  InvalidRequest: 'unreadable-request',
  InvalidCertificateOwnershipToken: 'ownership-token',
  InvalidToken: 'wrong-token',
  TokenExpired: 'token-expired',
  Forbidden: 'blocked',
  AlreadyProvisioned: 'already-provisioned',
  KeyMismatch: 'key-mismatch',
  PayloadTooLarge: 'unreadable-request',
  InvalidCsr: 'bad-csr',
  Throttled: 'asks-too-fast',
  InternalFailure: 'aws-away',
  UpstreamUnavailable: 'aws-refused',
};

export type HelpEntry = Failure & { readonly id: string };

const serialPlace = /SERIAL/g;

/** @param serial in the place of SERIAL */
export function failureText(id: FailureId | GoodStateId, serial: string): Failure {
  const { title, cause, cure } = { ...failures, ...goodStates }[id];
  const fill = (text: string) => text.replace(serialPlace, () => serial);
  return { title, cause: fill(cause), cure: fill(cure) };
}

/** For help: all failures, and then each error code with the failure that it usually stands for. */
export function helpEntries(): HelpEntry[] {
  const ofFailures = Object.entries(failures).map(([id, failure]) => ({ id, ...failure }));
  const codes = Object.entries(statusCodes) as [ErrorCode, number][];
  const ofCodes = codes.map(([code, status]) => ({
    ...failures[failureOfCode[code]],
    id: code,
    title: `${code} (${status})`,
  }));
  return [...ofFailures, ...ofCodes];
}
