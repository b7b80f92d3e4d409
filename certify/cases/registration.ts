import { problems } from '../../protocol/problems.ts';
import type { Case } from '../case.ts';
import type { Profile } from '../profile.ts';
import type { FromGateway } from '../script.ts';
import { atFirstOfGateway, type ReplyMessage } from './at-first.ts';
import { certificateCase } from './certificate-case.ts';
import { exceptByClaim } from './claims.ts';

/* From the certificate to the registered thing, which is a second question in Fleet Provisioning. */

const page = 'docs/fleet-provisioning.md';

const skip = exceptByClaim(({ dialect }: Profile) =>
  dialect === 'cvm' ? 'it does not speak Fleet Provisioning' : undefined,
);

/** A device has so long for its next message, in milliseconds, before its connection is cut. */
const inBetweenMs = 100;

const cutBeforeProvision = certificateCase({
  name: 'cut-before-provision',
  plays: 'sends the certificate, and cuts the connection before provision',
  wants: 'connects again, and asks to be registered, or asks for its certificate again with the same key',
  cure: 'store key, certificate and ownership token before provision, and go on from there after each restart',
  reference: `${page}#an-answer-is-lost`,
  skip,
  disturb({ observation }) {
    let at: number | undefined;
    let isSent = false;
    return {
      happenedAt: () => at,
      fromGateway(message, link, frame) {
        if (isSent || message.type !== 'reply' || !('status' in message.content)) return false;
        if (message.content.status !== 'accepted') return false;
        isSent = true;
        link.toDevice(frame);
        link.after(inBetweenMs, () => {
          at ??= observation.now;
          link.cut();
        });
        return true;
      },
      fromDevice(message, link) {
        if (at !== undefined || message.type !== 'ack') return false;
        at = observation.now;
        link.cut();
        return true;
      },
    };
  },
});

const isRegistered = (message: FromGateway): message is ReplyMessage =>
  message.type === 'reply' && 'status' in message.content && message.content.status === 'registered';

const cutBeforeRegistered = certificateCase({
  name: 'cut-before-registered',
  plays: 'takes provision, and cuts the connection in the place of its answer',
  wants: 'keeps its certificate, connects again, and asks again to be registered with the same ownership token',
  cure: 'keep certificate and ownership token: from provision on the registration token is spent, and a device that asks for its certificate again is told AlreadyProvisioned',
  reference: `${page}#an-answer-is-lost`,
  skip,
  disturb: (context) => atFirstOfGateway(context, isRegistered, (link) => link.cut()),
});

const ownershipEnded: Case = certificateCase({
  name: 'ownership-ended',
  plays:
    'answers provision with 400 InvalidCertificateOwnershipToken, an hour having passed, until the device has another token',
  wants: 'asks for its certificate again with the same key, and to be registered with the new ownership token',
  cure: 'at InvalidCertificateOwnershipToken ask for the certificate again, with the same key: the same one comes, with another ownership token',
  reference: `${page}#rejected`,
  skip,
  disturb({ observation }) {
    let at: number | undefined;
    return {
      happenedAt: () => at,
      fromDevice(message, link) {
        if (message.type !== 'ack' || observation.replies('accepted').some((reply) => reply.at > (at ?? Infinity)))
          return false;
        at ??= observation.now;
        link.puback(message.messageId);
        link.answer({ status: 'rejected', problem: problems.ownershipTokenEnded });
        return true;
      },
    };
  },
});

export const registrationCases: readonly Case[] = [cutBeforeProvision, cutBeforeRegistered, ownershipEnded];
