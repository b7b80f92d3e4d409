import type { AedesOptions, AuthenticateError, Client } from 'aedes';
import { isSerial } from '../../protocol/serial.ts';
import { malformedToken } from '../../protocol/token.ts';
import { checkVerified, type IntakeContext } from '../intake.ts';
import { connectionOf } from '../listener/connection.ts';
import type { Session } from '../session.ts';
import { badUserName, type HookContext, mqtt5Of, reasonOfRefusal, refusedConnect } from './context.ts';

/**
 * Authenticates CONNECT: user name = serial, password = token. A wrong token is not refused here, since it takes the worker
 * to tell: it shows in the answer to the request. So does one that no device can have: CONNACK has no room for the reason.
 */
export function createAuthenticate(context: HookContext): NonNullable<AedesOptions['authenticate']> {
  const { answerOnce, refusals } = context;
  return (client, username, password, done) => {
    const work = () => {
      try {
        authenticate(client, username, password, context);
      } finally {
        password?.fill(0);
      }
    };
    answerOnce.now(client, 'authenticate', work, (error) => {
      if (error !== undefined) mqtt5Of(client)?.explain(reasonOfRefusal(error));
      done((error as AuthenticateError) ?? null, error === undefined ? true : null);
      if (error !== undefined) refusals.connection(connectionOf(client.conn), error.message);
    });
  };
}

/** @throws a `refusedConnect` */
function authenticate(
  client: Client,
  username: string | undefined,
  password: Buffer | undefined,
  { sessions, refusedConnects, intake }: HookContext,
): void {
  const session = sessions.of(client);
  const refused = refusedConnects.get(client);
  if (refused !== undefined) {
    // the log names the device
    const serial = serialOfUserName(username ?? '');
    if (isSerial(serial)) session.bindSerial(serial, 'user name');
    throw refused;
  }
  // a user name without a password proves nothing: the clients of AWS send a line of metrics there
  if (password === undefined || password.length === 0) return;
  const serial = serialOfUserName(username ?? '');
  // MQTT 5 allows it [3.1.2.9], but a token says nothing without its serial
  if (serial === '') throw refusedConnect(badUserName, 'a password without a user name: the user name is the serial');
  presentPassword(session, serial, password.toString(), intake);
}

/** Clients of AWS add what they are, `SN-1?SDK=PythonV2&Version=1.2`. No serial has a question mark. */
const serialOfUserName = (username: string): string => username.replace(/\?.*/s, '');

/** @throws a `refusedConnect` */
function presentPassword(session: Session, serial: string, password: string, intake: IntakeContext): void {
  if (!isSerial(serial)) throw refusedConnect(badUserName, 'the user name is not a serial');
  if (!session.bindSerial(serial, 'user name'))
    throw refusedConnect(badUserName, 'the user name is not the serial that the pre-shared key belongs to');
  const malformed = malformedToken(password);
  if (malformed !== undefined) {
    session.connectedWithout(malformed);
    return;
  }
  const token = session.presentToken(serial, password);
  session.connectedWith(token);
  intake.pendingReplies.registerToken(session, token);
  // a device on the roster has its place among the verified connections from here on
  checkVerified(session, serial, token, intake);
}
