import type { Case, PlayContext } from '../case.ts';
import { seconds } from '../habits.ts';
import type { Observation } from '../observation.ts';
import { broken, type Finding } from '../rules.ts';
import type { DeviceLink, FromDevice, FromGateway } from '../script.ts';
import { atFirstOfDevice, atFirstOfGateway, beginsAccepted } from './at-first.ts';
import { certificateCase, failed } from './certificate-case.ts';
import { exceptByClaim } from './claims.ts';

const page = 'docs/protocol.md';

const again = {
  wants: 'connects again after a pause, and asks with the same token and key',
  cure: 'treat a connection that breaks as no answer: connect again, and publish the request again with the same key',
  reference: `${page}#in-short`,
};

const cut = (link: DeviceLink) => link.cut();

/** How often the connection is cut at CONNECT: the second pause is to be longer than the first. */
const cutsAtConnect = 2;
/** A shorter pause is none; and a second one that is not longer by this factor has not grown. */
const [leastPauseMs, growth] = [500, 1.2];

const cutAtConnect = certificateCase({
  name: 'cut-at-connect',
  plays: 'cuts the first two connections at CONNECT',
  wants: 'connects again, each time after a longer pause',
  cure: again.cure,
  reference: `${page}#waiting`,
  disturb({ observation }) {
    let [cuts, at] = [0, undefined as number | undefined];
    return {
      happenedAt: () => at,
      fromDevice(message, link) {
        if (message.type !== 'connect' || cuts >= cutsAtConnect) return false;
        cuts++;
        at = observation.now;
        link.cut();
        return true;
      },
      judge: () => pauseFaults(observation),
    };
  },
});

function pauseFaults(observation: Observation): Finding[] {
  const pauses = observation
    .all('closed')
    .filter(({ by }) => by === 'case')
    .flatMap(({ at }) => {
      const next = observation.all('opened').find((opened) => opened.at >= at);
      return next === undefined ? [] : [next.at - at];
    });
  const [first = 0, second] = pauses;
  if (pauses.some((pause) => pause < leastPauseMs))
    return [
      broken('pause-before-retry', `it connected again ${seconds(Math.min(...pauses))} after its connection was cut`),
    ];
  // where its program ended, the pause was not the device's
  if (second === undefined || observation.has('program-ended') || second >= first * growth) return [];
  return [broken('pauses-grow', `its pauses were ${seconds(first)} and ${seconds(second)}`)];
}

const cutAtRequest = certificateCase({
  name: 'cut-at-request',
  plays: 'cuts the connection at the first request, which the gateway does not get',
  ...again,
  disturb: (context) => atFirstOfDevice(context, ({ type }) => type === 'request', cut),
});

const isPuback = (message: FromGateway): message is Extract<FromGateway, { type: 'puback' }> =>
  message.type === 'puback';

const lostPuback = certificateCase({
  name: 'lost-puback',
  plays: 'takes the first request, and cuts the connection in the place of its PUBACK',
  ...again,
  disturb: (context) => atFirstOfGateway(context, isPuback, cut),
});

const cutBeforeReply = certificateCase({
  name: 'cut-before-reply',
  plays: 'cuts the connection after the PUBACK, in the place of the reply',
  ...again,
  disturb: (context) => atFirstOfGateway(context, beginsAccepted, cut),
});

const cutInReply = certificateCase({
  name: 'cut-in-reply',
  plays: 'sends half of the reply, and cuts the connection',
  ...again,
  cure: 'use nothing of a packet that has not come whole; connect again, and ask with the same key',
  disturb: (context) => atFirstOfGateway(context, beginsAccepted, (link, _reply, frame) => link.cutWithin(frame)),
});

/** The first acknowledgement is lost with its connection. */
const cutAtAck = certificateCase({
  name: 'cut-at-ack',
  plays:
    'cuts the connection at the acknowledgement (Fleet Provisioning: at provision), which the gateway does not get',
  wants: 'keeps its certificate, connects again, and acknowledges it again (asks again to be registered)',
  cure: 'keep the credentials, whatever becomes of the acknowledgement',
  reference: `${page}#acknowledgement`,
  skip: exceptByClaim(),
  disturb(context) {
    const { observation } = context;
    const lost = atFirstOfDevice(context, ({ type }) => type === 'ack', cut);
    const since = () => lost.happenedAt() ?? Number.POSITIVE_INFINITY;
    const repeated = () => observation.endings.some((at) => at > since() + 1);
    return {
      ...lost,
      done: repeated,
      judge: () =>
        repeated() || observation.acks.length === 0 || observation.acks[0]?.template !== undefined
          ? []
          : [broken('acks-again', 'its acknowledgement was lost, and it did not send it again')],
    };
  },
});

const powerCutAt = (context: PlayContext, packet: FromDevice['type']) =>
  atFirstOfDevice(
    context,
    ({ type }) => type === packet,
    () => {
      context.powerCut();
      // as in life: what it has sent is on its way
      return false;
    },
  );

const powerCutAtRequest = certificateCase({
  name: 'power-cut-at-request',
  plays: 'cuts the power of the device (kills its program) when its request is there',
  wants: 'asks again after its start, with the same key',
  cure: 'write the key pair to flash before the first request',
  reference: `${page}#waiting`,
  needsProgram: true,
  disturb: (context) => powerCutAt(context, 'request'),
});

const aboutPowerCutAtAck: Omit<Case, 'play'> = {
  name: 'power-cut-at-ack',
  level: 'mandatory',
  plays:
    'cuts the power of the device (kills its program) when its acknowledgement (Fleet Provisioning: provision) is there',
  wants: 'has its certificate after its start, and does not ask for it again',
  cure: 'write certificate and key to flash, and flush them, before the acknowledgement: it ends the token for good',
  reference: `${page}#acknowledgement`,
  lingerMs: 3000,
  needsProgram: true,
  skip: exceptByClaim(),
};

const powerCutAtAck = certificateCase({
  ...aboutPowerCutAtAck,
  disturb(context) {
    const { observation } = context;
    const cutOff = powerCutAt(context, 'ack');
    const since = () => cutOff.happenedAt() ?? Number.POSITIVE_INFINITY;
    const askedAgain = () => observation.after(since()).some(({ kind }) => kind === 'request');
    return {
      ...cutOff,
      done: () => askedAgain() || observation.endings.some((ending) => ending > since() + 1),
      // its certificate is all that it needs
      isThrough: () => !askedAgain() && observation.all('program-ended').some(({ status }) => status === 0),
      judge: () =>
        askedAgain()
          ? [
              failed(
                aboutPowerCutAtAck,
                'it acknowledged its certificate, lost its power, and had to ask for it again: it had not stored it',
              ),
            ]
          : [],
    };
  },
});

export const cuts: readonly Case[] = [
  cutAtConnect,
  cutAtRequest,
  lostPuback,
  cutBeforeReply,
  cutInReply,
  cutAtAck,
  powerCutAtRequest,
  powerCutAtAck,
];
