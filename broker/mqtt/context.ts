import type { Client } from 'aedes';
import type { Dialect } from '../../protocol/dialect.ts';
import type { Log } from '../../runtime/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { IntakeContext } from '../intake.ts';
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
    forwarding: createForwarding(),
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

/** Refuses a CONNECT with a CONNACK. aedes takes the code from the error. */
export function refusedConnect(returnCode: number, reason: string): Error {
  return Object.assign(new Error(`CONNACK ${returnCode}: ${reason}`), { returnCode });
}
