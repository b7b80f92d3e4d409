import type { Dialect, MessageProperties, ReplyForm, SessionView } from '../protocol/dialect.ts';
import { propertyBytes } from './mqtt5/sent.ts';

/** Where a request of MQTT 5 wants its answer, and what the answer is to carry [MQTT 5, 4.10]. */
export type ReplyTo = { readonly topic?: string | undefined; readonly correlationData?: Buffer | undefined };

/**
 * The longest topic filter, Response Topic and Correlation Data that are kept for a connection, in bytes: a request that waits keeps what its answer is to
 * carry, and a stranger may have eight of them on each of thousands of connections. Topics have 256 at most in AWS IoT Core, too.
 */
export const [maxTopicBytes, maxCorrelationBytes] = [256, 1024];

/** The form of an answer that goes where its request said. */
class AddressedForm {
  readonly form: ReplyForm;
  readonly replyTo: ReplyTo;
  constructor(form: ReplyForm, replyTo: ReplyTo) {
    this.form = form;
    this.replyTo = replyTo;
  }
}

/** @returns the form as it is, where the request said nothing */
export function addressed(form: ReplyForm, replyTo: ReplyTo): ReplyForm {
  const says = replyTo.topic !== undefined || replyTo.correlationData !== undefined;
  return says ? new AddressedForm(form, replyTo) : form;
}

const nowhereElse: ReplyTo = {};

/** The same dialect, for forms that `addressed` made, too. A notice says nothing any more when the device should have asked again. */
export function withReplyTo(dialect: Dialect): Dialect {
  const split = (form: ReplyForm) => (form instanceof AddressedForm ? form : { form, replyTo: nowhereElse });
  return {
    ...dialect,
    whenPending: (form, answer) => dialect.whenPending(split(form).form, answer),
    write(answer, asked, session, now) {
      if (session.isMqtt5 !== true) return dialect.write(answer, asked, session, now);
      const { form, replyTo } = split(asked);
      const expirySeconds = answer.status === 'pending' ? answer.retryAfterSeconds : undefined;
      const properties = { correlationData: replyTo.correlationData, expirySeconds };
      const written = dialect.write(answer, form, viewFor(session, replyTo, properties), now);
      return written && { ...written, topic: replyTo.topic ?? written.topic, properties };
    },
  };
}

/**
 * The connection as a dialect sees it that answers there: in MQTT 5, properties and a longer Response Topic take room from what the dialect
 * writes. @param properties of the answer
 */
export function viewFor(session: SessionView, replyTo: ReplyTo, properties: MessageProperties = replyTo): SessionView {
  if (session.isMqtt5 !== true) return session;
  const { serial, encoding, maxPacket, isMqtt5 } = session;
  return {
    ...{ serial, encoding, maxPacket, isMqtt5 },
    ownershipToken: (certificateId, endsAt) => session.ownershipToken(certificateId, endsAt),
    extraBytes: (topic) =>
      propertyBytes(properties) + Buffer.byteLength(replyTo.topic ?? topic) - Buffer.byteLength(topic),
  };
}

/** Why a connection gets no answer at all. */
export const noRoom = ({ maxPacket, isMqtt5 }: Pick<SessionView, 'maxPacket' | 'isMqtt5'>): string =>
  `no answer fits into packets of ${maxPacket} bytes beside its topic${isMqtt5 === true ? ' and Correlation Data' : ''}`;

/** @returns why no answer can go there; undefined where it can, as far as its size tells */
export function whyTooLong({ topic = '', correlationData }: ReplyTo): string | undefined {
  if (Buffer.byteLength(topic) > maxTopicBytes) return `its Response Topic has more than ${maxTopicBytes} bytes`;
  if ((correlationData?.length ?? 0) <= maxCorrelationBytes) return undefined;
  return `its Correlation Data has more than ${maxCorrelationBytes} bytes`;
}

/**
 * Whether a device may be answered at this topic: it is a reply topic of this serial, or one below it. Anything else would be a way to make the
 * gateway publish to topics of the device's choice.
 */
export function isReplyTopicOf(topic: string, serial: string, dialect: Dialect, session: SessionView): boolean {
  return dialect.readFilter(topic, session)?.serial === serial;
}
