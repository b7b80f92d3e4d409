import type { Client } from 'aedes';
import type { Dialect } from '../../protocol/dialect.ts';
import type { Log } from '../../runtime/log.ts';
import type { Tracing } from '../../runtime/tracing.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { IntakeContext } from '../intake.ts';
import { knownConnectionOf } from '../listener/connection.ts';
import type { Mqtt5 } from '../mqtt5/mqtt5.ts';
import type { Refusals } from '../refusals.ts';
import type { Session } from '../session.ts';
import type { TimeAnswers } from '../time-answers.ts';
import { type AnswerOnce, createAnswerOnce } from './answer-once.ts';
import { createForwarding, type Forwarding } from './forward.ts';

export type HookOptions = {
  readonly intake: IntakeContext;
  readonly dialect: Dialect;
  readonly times: TimeAnswers;
  readonly refusals: Refusals;
  readonly metrics: Metrics;
  /** absent where traces are off */
  readonly tracing?: Tracing | undefined;
  readonly log: Log;
};

/** What the hooks share. */
export type HookContext = HookOptions & {
  readonly sessions: Sessions;
  readonly forwarding: Forwarding;
  readonly answerOnce: AnswerOnce;
  /** CONNECTs that `preConnect` refuses: aedes lets only `authenticate` answer one */
  readonly refusedConnects: WeakMap<Client, Error>;
};

export function createHookContext(options: HookOptions): HookContext {
  // a token attempt is counted, then the request is stored
  const hookMs = 2 * options.intake.limits.storeMs + 1000;
  return {
    ...options,
    sessions: createSessions(),
    refusedConnects: new WeakMap(),
    forwarding: createForwarding(options.refusals),
    answerOnce: createAnswerOnce({ hookMs, log: options.log }),
  };
}

/** The session of each connection that sent a CONNECT, by the object that aedes knows it by. */
type Sessions = {
  add(client: Client, session: Session): void;
  /** @throws for a connection that sent no CONNECT, and where there is none: aedes publishes wills without one */
  of(client: Client | null): Session;
};

function createSessions(): Sessions {
  const sessions = new WeakMap<Client, Session>();
  return {
    add: (client, session) => void sessions.set(client, session),
    of(client) {
      const session = client === null ? undefined : sessions.get(client);
      if (session === undefined) throw new Error('there is no such connection');
      return session;
    },
  };
}

/** Return codes of CONNACK (MQTT 3.1.1, section 3.2.2.3). */
export const [badUserName, notAuthorized] = [4, 5];

/** Refuses a CONNECT with a CONNACK. aedes takes the code from the error; a client of MQTT 5 gets the reason. */
export function refusedConnect(returnCode: number, reason: string): Error {
  return Object.assign(new Error(`CONNACK ${returnCode}: ${reason}`), { returnCode, reason });
}

/** What a client of MQTT 5 is told; a defect is in the log only. */
export const reasonOfRefusal = (error: Error): string =>
  (error as { reason?: string }).reason ?? 'the gateway cannot take this connection in';

/** What MQTT 5 adds to this connection, where its client speaks it. Never fails: hooks tell a reason with it before they refuse. */
export function mqtt5Of(client: Client | null): Mqtt5 | undefined {
  return client === null ? undefined : knownConnectionOf(client.conn)?.mqtt5;
}
