import type { Case } from '../case.ts';
import { withTime, withUnknownFields } from '../replies.ts';
import { broken } from '../rules.ts';
import { atFirstOfDevice, atFirstOfGateway, beginsAccepted } from './at-first.ts';
import { certificateCase, failed } from './certificate-case.ts';
import { cvmOnly } from './cvm-only.ts';
import { partCases } from './parts.ts';
import { pendingCases } from './pending.ts';

const page = 'docs/protocol.md';

const noPuback = certificateCase({
  name: 'no-puback',
  plays: 'says nothing to the first request, and lets the connection stand',
  wants: 'asks again after ten seconds or more, on this connection or another',
  cure: 'without a PUBACK for ten seconds ask again, each time after twice as long: the request was not stored',
  reference: `${page}#waiting`,
  disturb: (context) => ({
    // it is lost
    ...atFirstOfDevice(
      context,
      ({ type }) => type === 'request',
      () => {},
    ),
    judge() {
      const [first, second] = context.observation.requests;
      return first === undefined || second === undefined || first.id === second.id
        ? []
        : [broken('same-id', 'it asked again with another id')];
    },
  }),
});

const replyBeforePuback = certificateCase({
  name: 'reply-before-puback',
  plays: 'sends the reply first, and the PUBACK of the request after it',
  wants: 'takes the reply',
  cure: 'handle messages while the PUBACK of the request is awaited: an accepted reply may come first',
  reference: `${page}#in-short`,
  disturb({ observation }) {
    let held: Buffer | undefined;
    let at: number | undefined;
    return {
      happenedAt: () => at,
      fromGateway(message, link, frame) {
        if (at !== undefined) return false;
        if (message.type === 'puback' && held === undefined) {
          held = frame;
          return true;
        }
        if (message.type !== 'reply') return false;
        at = observation.now;
        link.toDevice(frame);
        if (held !== undefined) link.toDevice(held);
        return true;
      },
    };
  },
});

const aboutReplyTwice = {
  name: 'reply-twice',
  level: 'mandatory',
  plays: 'sends each message of the reply twice',
  wants: 'takes it once, and does not ask again',
  cure: 'with QoS 1 a message may come twice: ignore a reply when the certificate is there already',
  reference: `${page}#reply`,
  lingerMs: 3000,
} as const;

const replyTwice = certificateCase({
  ...aboutReplyTwice,
  disturb({ observation }) {
    let at: number | undefined;
    return {
      happenedAt: () => at,
      fromGateway(message, link, frame) {
        if (message.type !== 'reply') return false;
        at ??= observation.now;
        link.toDevice(frame);
        link.send(message, { dup: true });
        return true;
      },
      judge() {
        const accepted = observation.replies('accepted')[0];
        const asked = observation.requests.some((request) => accepted !== undefined && request.at > accepted.at);
        return asked ? [failed(aboutReplyTwice, 'it asked again after it had got its certificate')] : [];
      },
    };
  },
});

/** So late comes a late reply, in milliseconds; and so often may a device ask meanwhile. */
const [lateMs, mostAsked] = [8000, 3];

const aboutReplyLate = {
  name: 'reply-late',
  level: 'mandatory',
  plays: `sends the reply ${lateMs / 1000} seconds late`,
  wants: 'waits for it',
  cure: 'wait for half a minute after the PUBACK: the request is stored, and will be answered',
  reference: `${page}#waiting`,
  lingerMs: 1500,
} as const;

const replyLate = certificateCase({
  ...aboutReplyLate,
  disturb({ observation }) {
    let due: number | undefined;
    return {
      happenedAt: () => due,
      fromGateway(message, link, frame) {
        if (message.type !== 'reply') return false;
        due ??= observation.now + lateMs;
        const left = due - observation.now;
        if (left <= 0) return false;
        link.after(left, () => link.toDevice(frame));
        return true;
      },
      judge() {
        const asked = observation.requests.filter(({ at, part }) => part === 0 && at < (due ?? 0)).length;
        return asked > mostAsked ? [failed(aboutReplyLate, `it asked ${asked} times while its answer was due`)] : [];
      },
    };
  },
});

const unknownFields = certificateCase({
  name: 'unknown-fields',
  plays: 'puts fields into the reply that are new: a list, a map, a text',
  wants: 'ignores them',
  cure: 'skip the keys that the firmware does not know, whatever their values are: a newer gateway may have more',
  reference: `${page}#reply`,
  skip: cvmOnly('Fleet Provisioning has the fields of AWS', ({ inParts }) =>
    inParts ? 'its reply comes in parts' : undefined,
  ),
  disturb({ observation }) {
    let at: number | undefined;
    return {
      happenedAt: () => at,
      fromGateway(message, link) {
        if (!beginsAccepted(message)) return false;
        const changed = withUnknownFields(message.payload);
        if (changed === undefined) return false;
        at ??= observation.now;
        link.pubackToGateway(message.messageId);
        link.send({ ...message, payload: changed });
        return true;
      },
    };
  },
});

const aboutUnknownStatus = {
  name: 'unknown-status',
  level: 'mandatory',
  plays: 'sends a message with a status that is new, and the reply a second later',
  wants: 'ignores it, and gets its certificate',
  cure: 'take a status other than accepted and rejected for no answer, and go on waiting',
  reference: `${page}#waiting`,
  lingerMs: 1500,
} as const;

const unknownStatus = certificateCase({
  ...aboutUnknownStatus,
  skip: cvmOnly('Fleet Provisioning has no status', ({ inParts }) =>
    inParts ? 'it takes the messages of small packets only' : undefined,
  ),
  disturb: (context) => ({
    ...atFirstOfGateway(context, beginsAccepted, (link, _reply, frame) => {
      link.notice('notice');
      link.after(1000, () => link.toDevice(frame));
    }),
    judge() {
      const gaveUp = context.observation.all('program-ended').some(({ status }) => status !== 0);
      return gaveUp ? [failed(aboutUnknownStatus, 'its program gave up at that message')] : [];
    },
  }),
});

/** 9 September 2001: ten digits, as any time of today. Epoch seconds. */
const longAgo = 1_000_000_000;

const aboutTime = {
  name: 'time-far-off',
  level: 'mandatory',
  plays: 'says in the reply that it is 2001, and cuts the connection at the acknowledgement',
  wants: 'stores its certificate, and can connect again',
  cure: 'take no time before the build of the firmware, or before the last time in flash',
  reference: `${page}#time`,
  lingerMs: 3000,
} as const;

const timeFarOff = certificateCase({
  ...aboutTime,
  skip: cvmOnly('Fleet Provisioning says no time'),
  disturb({ observation }) {
    let cutAt: number | undefined;
    return {
      done: () => cutAt !== undefined && observation.acks.some(({ at }) => at > (cutAt ?? 0) + 1),
      fromDevice(message, link) {
        if (message.type !== 'ack' || cutAt !== undefined) return false;
        cutAt = observation.now;
        link.cut();
        return true;
      },
      fromGateway(message, link) {
        if (!beginsAccepted(message)) return false;
        const changed = withTime(message.payload, longAgo);
        if (changed === undefined) return false;
        link.pubackToGateway(message.messageId);
        link.send({ ...message, payload: changed });
        return true;
      },
      judge() {
        const refused = observation.after(cutAt ?? Number.POSITIVE_INFINITY).find(({ kind }) => kind === 'tls-failed');
        return refused?.kind !== 'tls-failed'
          ? []
          : [
              failed(
                aboutTime,
                `after the reply it refused the certificate of the gateway (${refused.reason}): it took the time of 2001`,
              ),
            ];
      },
    };
  },
});

export const replyCases: readonly Case[] = [
  noPuback,
  replyBeforePuback,
  replyTwice,
  replyLate,
  ...pendingCases,
  unknownStatus,
  unknownFields,
  timeFarOff,
  ...partCases,
];
