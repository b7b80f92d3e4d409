import type { AedesOptions, AuthenticateError } from 'aedes';
import { isSerial } from '../../protocol/serial.ts';
import { checkVerified, type IntakeContext } from '../intake.ts';
import { connectionOf } from '../listener/connection.ts';
import type { Session } from '../session.ts';
import type { HookContext } from './context.ts';

/** CONNACK return code 4, bad user name or password (MQTT 3.1.1, section 3.2.2.3). */
const badUserName = 4;

/**
 * Authenticates CONNECT: user name = serial, password = token. A wrong token is not refused here, since it takes the worker
 * to tell: it shows in the answer to the request.
 */
export function createAuthenticate({
  sessions,
  answerOnce,
  intake,
  refusals,
}: HookContext): NonNullable<AedesOptions['authenticate']> {
  return (client, username, password, done) => {
    const work = () => {
      // a user name without a password proves nothing: the clients of AWS send a line of metrics there
      if (username === undefined || password === undefined || password.length === 0) return;
      try {
        presentPassword(sessions.of(client), username, password, intake);
      } finally {
        password.fill(0);
      }
    };
    answerOnce.now(client, 'authenticate', work, (error) => {
      done((error as AuthenticateError) ?? null, error === undefined ? true : null);
      if (error !== undefined) refusals.connection(connectionOf(client.conn), error.message);
    });
  };
}

/** @throws with a return code for CONNACK */
function presentPassword(session: Session, username: string, password: Buffer, intake: IntakeContext): void {
  if (!isSerial(username)) throw refusedUserName('the user name is not a serial');
  if (!session.bindSerial(username))
    throw refusedUserName('the user name is not the serial that the pre-shared key belongs to');
  const token = session.presentToken(username, password.toString());
  session.connectedWith(token);
  intake.pendingReplies.registerToken(session, token);
  // a device on the roster has its place among the verified connections from here on
  checkVerified(session, username, token, intake);
}

function refusedUserName(reason: string): Error {
  return Object.assign(new Error(reason), { returnCode: badUserName });
}
