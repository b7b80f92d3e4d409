import type { Case } from '../case.ts';
import type { Outgoing } from '../dialects/dialect.ts';
import type { FromGateway } from '../script.ts';
import { atFirstOfGateway, type ReplyMessage } from './at-first.ts';
import { certificateCase } from './certificate-case.ts';

const isPart =
  (number: number) =>
  (message: FromGateway): message is ReplyMessage =>
    message.type === 'reply' && message.content.type === 'part' && message.content.number === number;

const notInParts = ({ inParts }: { readonly inParts: boolean }) =>
  inParts ? undefined : 'its reply comes in one packet';

const aboutParts = {
  wants: 'asks for the part that is missing, and has the whole in the end',
  cure: 'take only the next part, ask for it by number when another one comes, and compare the SHA-256 of the whole before anything of it is used',
  reference: 'docs/protocol.md#small-packets',
  skip: notInParts,
};

const partsOutOfOrder = certificateCase({
  name: 'parts-out-of-order',
  plays: 'sends the second part before the first',
  ...aboutParts,
  disturb({ observation }) {
    let held: Outgoing | undefined;
    let at: number | undefined;
    return {
      happenedAt: () => at,
      fromGateway(message, link, frame) {
        if (message.type !== 'reply' || message.content.type !== 'part' || at !== undefined) return false;
        if (held === undefined) {
          held = message;
          // the next one comes when this one is acknowledged
          link.pubackToGateway(message.messageId);
          return true;
        }
        at = observation.now;
        link.toDevice(frame);
        link.send(held);
        return true;
      },
    };
  },
});

const partLost = certificateCase({
  name: 'part-lost',
  plays: 'loses the second part',
  ...aboutParts,
  disturb: (context) => atFirstOfGateway(context, isPart(2), (link, { messageId }) => link.pubackToGateway(messageId)),
});

const partDamaged = certificateCase({
  name: 'part-damaged',
  plays: 'changes a byte of the first part',
  ...aboutParts,
  wants: 'finds that the SHA-256 does not fit, and asks for all parts again',
  disturb: (context) =>
    atFirstOfGateway(context, isPart(1), (link, message) => {
      const damaged = Buffer.from(message.payload);
      const last = damaged.length - 1;
      damaged[last] = (damaged[last] ?? 0) ^ 0xff;
      link.pubackToGateway(message.messageId);
      link.send({ ...message, payload: damaged });
    }),
});

export const partCases: readonly Case[] = [partsOutOfOrder, partLost, partDamaged];
