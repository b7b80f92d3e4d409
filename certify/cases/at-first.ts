import type { PlayContext } from '../case.ts';
import type { DeviceLink, FromDevice, FromGateway } from '../script.ts';

/** When the case's one happening was: milliseconds since the case began, undefined until then. */
type Happened = { happenedAt(): number | undefined };

/** What is done with a packet. @returns false where the packet is passed on all the same */
type Act<Message> = (link: DeviceLink, message: Message, frame: Buffer) => unknown;

/** Does something with the first packet of the device that fits, in place of passing it on; the others pass. */
export function atFirstOfDevice(
  context: Pick<PlayContext, 'observation'>,
  fits: (message: FromDevice) => boolean,
  act: Act<FromDevice>,
): Happened & { fromDevice(message: FromDevice, link: DeviceLink, frame: Buffer): boolean } {
  const { happenedAt, take } = atFirst(context, fits, act);
  return { happenedAt, fromDevice: take };
}

/** The same with the first packet of the gateway. */
export function atFirstOfGateway<Fitting extends FromGateway>(
  context: Pick<PlayContext, 'observation'>,
  fits: (message: FromGateway) => message is Fitting,
  act: Act<Fitting>,
): Happened & { fromGateway(message: FromGateway, link: DeviceLink, frame: Buffer): boolean } {
  const { happenedAt, take } = atFirst(context, fits as (message: FromGateway) => boolean, act as Act<FromGateway>);
  return { happenedAt, fromGateway: take };
}

function atFirst<Message>(
  { observation }: Pick<PlayContext, 'observation'>,
  fits: (message: Message) => boolean,
  act: Act<Message>,
) {
  let at: number | undefined;
  return {
    happenedAt: () => at,
    take(message: Message, link: DeviceLink, frame: Buffer): boolean {
      if (at !== undefined || !fits(message)) return false;
      at = observation.now;
      return act(link, message, frame) !== false;
    },
  };
}

export type ReplyMessage = Extract<FromGateway, { type: 'reply' }>;

/** What begins an accepted reply: the whole of it, or the first of its parts. */
export const beginsAccepted = (message: FromGateway): message is ReplyMessage =>
  message.type === 'reply' &&
  (message.content.type === 'head' || (message.content.type === 'whole' && message.content.status === 'accepted'));
