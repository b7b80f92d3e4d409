/**
 * What firmware must do, one rule each: the cure for a device that does not, and where docs/protocol.md says so. `advice` does not fail a
 * device. A case is a rule as well, of its own name: "the device comes through it".
 */
const page = 'docs/protocol.md';

type Rule = { readonly level: 'mandatory' | 'advice'; readonly cure: string; readonly reference: string };

export const rules = {
  'sends-a-request': {
    level: 'mandatory',
    cure: 'connect to the host and port above with the CA file above, and publish the request to cvm/request/SERIAL (Fleet Provisioning: to $aws/certificates/create/… or create-from-csr/…). Where the device still has the credentials of the case before, erase them first',
    reference: `${page}#in-short`,
  },
  'readable-request': {
    level: 'mandatory',
    cure: 'send a JSON object, or a CBOR map, with the keys of the page',
    reference: `${page}#request`,
  },
  'same-token': {
    level: 'mandatory',
    cure: 'present the token of the device, unchanged, each time: wrong ones hold up the device itself',
    reference: `${page}#reply`,
  },
  'same-key': {
    level: 'mandatory',
    cure: 'make the key pair once, store it before the first request, and use it in every further one: a request with another key is answered Throttled or KeyMismatch',
    reference: `${page}#waiting`,
  },
  'qos-1': {
    level: 'mandatory',
    cure: 'publish requests and acknowledgements with QoS 1: without a PUBACK there is no promise',
    reference: `${page}#in-short`,
  },
  'not-retained': {
    level: 'mandatory',
    cure: 'leave the retain flag off: a retained message is rejected',
    reference: `${page}#what-the-broker-allows`,
  },
  'one-request-at-a-time': {
    level: 'mandatory',
    cure: 'after a request wait for its answer; without a PUBACK for ten seconds before asking again, each time twice as long',
    reference: `${page}#waiting`,
  },
  'pause-before-retry': {
    level: 'mandatory',
    cure: 'wait for some seconds before connecting again, each time twice as long, with some randomness: after a power cut the whole site comes at once',
    reference: `${page}#waiting`,
  },
  'acknowledges-messages': {
    level: 'mandatory',
    cure: 'send PUBACK for every message with QoS 1; most libraries do when the callback returns',
    reference: `${page}#small-packets`,
  },
  'sends-ack': {
    level: 'mandatory',
    cure: 'publish {"certificateId":"…"} to cvm/ack/SERIAL when certificate and key are in flash: it ends the time in which the token can be used again',
    reference: `${page}#acknowledgement`,
  },
  'asks-to-be-registered': {
    level: 'mandatory',
    cure: 'with Fleet Provisioning publish the certificateOwnershipToken that came with the certificate to $aws/provisioning-templates/TEMPLATE/provision/json (or cbor), when certificate and key are in flash',
    reference: 'docs/fleet-provisioning.md#what-to-change-in-the-firmware',
  },
  'fresh-nonce': {
    level: 'mandatory',
    cure: 'draw new random bytes for each question for the time: an attacker who knows a nonce in advance can answer with an old time',
    reference: `${page}#time`,
  },
  'right-ack': {
    level: 'mandatory',
    cure: 'send the certificateId of the reply, 64 hex digits (in CBOR also its 32 bytes)',
    reference: `${page}#acknowledgement`,
  },
  'pauses-grow': {
    level: 'advice',
    cure: 'wait twice as long after each failure, up to some minutes',
    reference: `${page}#waiting`,
  },
  'same-id': {
    level: 'advice',
    cure: 'ask again with the same id when no PUBACK came: then the request is stored once',
    reference: `${page}#waiting`,
  },
  'subscribes-first': {
    level: 'advice',
    cure: 'subscribe before the request, or not at all: the asking connection gets its reply without',
    reference: `${page}#in-short`,
  },
  'acks-again': {
    level: 'advice',
    cure: 'send the acknowledgement again when its PUBACK did not come, also after a restart: until the gateway has it, the token can be used again',
    reference: `${page}#acknowledgement`,
  },
} as const satisfies Record<string, Rule>;

export type RuleName = keyof typeof rules;

/** What is wrong with a device, in one case. `rule`: of `rules`, or the name of the case. */
export type Finding = {
  readonly rule: string;
  readonly level: 'mandatory' | 'advice';
  readonly cause: string;
  readonly cure: string;
  readonly reference: string;
};

export const broken = (rule: RuleName, cause: string): Finding => ({ rule, ...rules[rule], cause });
