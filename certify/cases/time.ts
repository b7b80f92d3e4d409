import { encodingOf } from '../../protocol/encoding.ts';
import { encodeTime } from '../../protocol/time.ts';
import type { Case, PlayContext } from '../case.ts';
import type { Observation } from '../observation.ts';
import type { Profile } from '../profile.ts';
import { withDamagedSignature } from '../replies.ts';
import { certificateCase, failed } from './certificate-case.ts';

const skip = ({ asksTime }: Profile) => (asksTime ? undefined : 'it does not ask for the time');

/** In the place of the first answer comes another one, which the device must not believe. */
function falseTime(
  about: Pick<Case, 'name' | 'plays' | 'cure'>,
  falsify: (payload: Buffer, context: PlayContext) => Buffer | undefined,
): Case {
  const whole = {
    ...about,
    level: 'mandatory',
    wants: 'does not take this time, sends nothing else, and asks again with another nonce',
    reference: 'docs/protocol.md#time',
    lingerMs: 1500,
  } as const;
  return certificateCase({
    ...whole,
    skip,
    disturb(context) {
      const { observation } = context;
      let at: number | undefined;
      return {
        happenedAt: () => at,
        fromGateway(message, link) {
          if (at !== undefined || message.type !== 'time') return false;
          const payload = falsify(message.payload, context);
          if (payload === undefined) return false;
          at = observation.now;
          link.pubackToGateway(message.messageId);
          link.send({ ...message, payload });
          return true;
        },
        judge() {
          const cause = at === undefined ? undefined : howTaken(observation, at);
          return cause === undefined ? [] : [failed(whole, cause)];
        },
      };
    },
  });
}

/** What a device does next that took a false time; undefined where it did not. */
function howTaken(observation: Observation, at: number): string | undefined {
  for (const seen of observation.after(at)) {
    if (seen.kind === 'time-question') return undefined;
    if (seen.kind === 'token') return 'it took this time, and went on to send its token';
    if (seen.kind === 'request') return 'it took this time, and went on to ask for its certificate';
    if (seen.kind === 'tls-failed')
      return `it took this time, and refused the certificate of the gateway (${seen.reason})`;
  }
  return undefined;
}

/** As if somebody had kept an answer. Seconds. */
const oldBySeconds = 30 * 86_400;

export const timeCases: readonly Case[] = [
  falseTime(
    {
      name: 'time-wrong-signature',
      plays: 'changes a byte of the signature of the first time',
      cure: 'verify the signature with the pinned key, over the text, the nonce and the time, before anything else',
    },
    withDamagedSignature,
  ),
  falseTime(
    {
      name: 'time-old-answer',
      plays:
        'answers the first question for the time with an answer of a month ago, which was signed for another nonce',
      cure: 'verify the signature over the nonce of this very question: an answer to another one does not count',
    },
    (payload, { signTime }) => {
      const time = Math.floor(Date.now() / 1000) - oldBySeconds;
      return encodeTime(time, signTime('an-older-nonce-of-it', time), encodingOf(payload));
    },
  ),
];
