import { randomBytes } from 'node:crypto';
import type { AedesOptions, Client, ConnectPacket } from 'aedes';
import { closingReasons } from '../closing-reasons.ts';
import { keepaliveFor } from '../limits.ts';
import { connectionOf } from '../listener/connection.ts';
import { claimOfHandshake, Session, tokenOfHandshake } from '../session.ts';
import { type HookContext, notAuthorized, refusedConnect } from './context.ts';

/** Each CONNECT is changed by these in turn. */
const changes: readonly ((packet: ConnectPacket, limits: { keepaliveSeconds: number }) => void)[] = [
  /**
   * The client id is ours, so that two devices with the same one live side by side and neither throws the other out.
   * 22 characters: MQTT 3.1 allows 23 [MQTT 3.1, 3.1].
   */
  function ownClientId(packet) {
    packet.clientId = randomBytes(16).toString('base64url');
  },
  /** No reply is ever stored for a connection that has gone. */
  function cleanSession(packet) {
    packet.clean = true;
  },
  function boundedKeepalive(packet, limits) {
    packet.keepalive = keepaliveFor(packet.keepalive ?? 0, limits);
  },
];

/** aedes asks this first, before it answers a CONNECT. */
export function createPreConnect(context: HookContext): NonNullable<AedesOptions['preConnect']> {
  const { answerOnce, intake, refusals } = context;
  return (client, packet, done) => {
    const work = () => {
      if (packet.will) {
        context.refusedConnects.set(client, refusedConnect(notAuthorized, closingReasons.will));
        delete packet.will;
      }
      for (const change of changes) change(packet, intake.limits);
      startSession(client, context);
    };
    answerOnce.now(client, 'preConnect', work, (error) => {
      done(error ?? null, error === undefined);
      if (error !== undefined) refusals.connection(connectionOf(client.conn), error.message);
    });
  };
}

function startSession(client: Client, { sessions, forwarding, answerOnce, intake }: HookContext): void {
  const connection = connectionOf(client.conn);
  const { remoteAddress, address, slot, psk, claim, keyUnused } = connection;
  const connectedAt = performance.now();
  let noted = false;
  // at once where its token is known to be right, and otherwise when it is known that it will not be
  const noteConnected = () => {
    const by = session.namedBy;
    if (noted || by === undefined) return;
    noted = true;
    intake.sightings.note(session, 'connected', { by }, undefined, performance.now() - connectedAt);
  };
  const session: Session = new Session({
    remoteAddress,
    address,
    keyUnused,
    claimFault: claim !== undefined && 'fault' in claim ? claim.fault : undefined,
    isMqtt5: connection.mqtt5 !== undefined,
    send: (topic, payload, properties) => forwarding.send(client, topic, payload, properties),
    deliver: (topic, payload, properties) => forwarding.deliver(client, topic, payload, properties),
    onVerified(serial, { tokenHash }) {
      noteConnected();
      // a token that is right and can get no certificate any more has its answers, and no better right to a slot
      const isCurrent = () => intake.roster.isCurrent(serial, tokenHash);
      if (!isCurrent()) return;
      slot.verified({ serial, isCurrent, onLost: () => connection.pace.unverified() });
      connection.pace.verified();
    },
  });
  const maxPacket = connection.mqtt5?.maxPacketBytes;
  if (maxPacket !== undefined) session.connectedTaking(maxPacket);
  sessions.add(client, session);
  connection.session = session;
  client.conn.on('close', () =>
    answerOnce.guard(null, 'close', () => {
      noteConnected();
      intake.pendingReplies.connectionClosed(session);
    }),
  );
  if (psk === undefined) {
    if (claim !== undefined && 'id' in claim) session.connectedByClaim(claimOfHandshake(claim.id));
    return;
  }
  const token = tokenOfHandshake(psk);
  psk.keys.psk.fill(0);
  psk.keys.replySeed.fill(0);
  session.bindSerial(psk.serial, 'pre-shared key');
  session.connectedWith(token);
  session.markVerified(token);
  intake.pendingReplies.registerToken(session, token);
}
