import type { Case, Judged, Play, PlayContext } from '../case.ts';
import type { Observation, SeenOf } from '../observation.ts';
import { broken, type Finding } from '../rules.ts';
import type { Script } from '../script.ts';

/** What is done to a device, and when that happened: milliseconds since the case began, undefined until then. */
export type Disturbance = Script & {
  happenedAt?(): number | undefined;
  /** instead of "it has come through since it happened" */
  done?(observation: Observation): boolean;
  /** in addition to "it has acknowledged", or "it was told that it is registered" */
  isThrough?(observation: Observation): boolean;
  /** what is wrong beyond "it does not come through" */
  judge?(judged: Judged): Finding[];
};

type Definition = Omit<Case, 'play' | 'level' | 'lingerMs'> &
  Partial<Pick<Case, 'level' | 'lingerMs'>> & { disturb(context: PlayContext): Disturbance };

/** After its acknowledgement a device is looked at for so long, in milliseconds. */
const usualLingerMs = 1500;

/** A case after which the device must have its certificate, and say so. */
export function certificateCase({
  disturb,
  level = 'mandatory',
  lingerMs = usualLingerMs,
  ...about
}: Definition): Case {
  const itself = { ...about, level, lingerMs };
  return {
    ...itself,
    play(context): Play {
      const disturbance = disturb(context);
      const happenedAt = () => disturbance.happenedAt?.() ?? 0;
      return {
        ...disturbance,
        done: disturbance.done ?? (({ endings }) => endings.some((at) => at >= happenedAt())),
        judge(judged) {
          const own = disturbance.judge?.(judged) ?? [];
          return disturbance.isThrough?.(judged.observation)
            ? own
            : [...own, ...comesThrough(itself, judged, happenedAt())];
        },
      };
    },
  };
}

/** A finding under the name of the case itself. */
export function failed({ name: rule, level, cure, reference }: Omit<Case, 'play'>, cause: string): Finding {
  return { rule, level, cause, cure, reference };
}

function comesThrough(
  itself: Omit<Case, 'play'>,
  { observation, certificateId, profile }: Judged,
  happenedAt: number,
): Finding[] {
  const { acks, requests } = observation;
  if (requests.length === 0) return [broken('sends-a-request', whyNoRequest(observation))];
  const wrong = certificateId === undefined ? undefined : acks.find((ack) => ack.certificateId !== certificateId);
  if (wrong !== undefined) return [wrongAck(wrong, certificateId ?? '')];
  if (observation.endings.length > 0) return [];
  const got = observation.replies('accepted').length > 0;
  if (got && acks.length === 0 && (itself.name === 'plain' || profile?.acknowledges === false))
    return [
      requests[0]?.dialect === 'fleet-provisioning'
        ? broken('asks-to-be-registered', 'it got its certificate, and did not ask to be registered')
        : broken('sends-ack', 'it got its certificate, and sent no acknowledgement'),
    ];
  // the rule "same-key" tells it, with its cure: without that fault the device would have come through
  if (isRefusedForItsKey(observation)) return [];
  return [failed(itself, howFar(observation, happenedAt))];
}

function isRefusedForItsKey(observation: Observation): boolean {
  const keys = new Set(observation.requests.flatMap(({ key }) => key ?? []));
  const last = observation.replies('rejected').at(-1);
  return keys.size > 1 && last?.by === 'gateway' && last.errorCode === 'KeyMismatch';
}

function wrongAck({ certificateId: named, template }: SeenOf<'ack'>, certificateId: string): Finding {
  if (template !== undefined)
    return broken(
      'asks-to-be-registered',
      named === undefined
        ? 'it asked to be registered with an ownership token that it was not given'
        : 'it asked to be registered with the ownership token of another certificate',
    );
  return broken(
    'right-ack',
    named === undefined
      ? 'its acknowledgement has no certificateId that can be read'
      : `it acknowledged ${named.slice(0, 8)}…, and its certificate is ${certificateId.slice(0, 8)}…`,
  );
}

function whyNoRequest(observation: Observation): string {
  if (observation.acks.length > 0) return 'it acknowledged a certificate, and had not asked for one';
  const ended = observation.all('program-ended');
  if (!observation.has('opened'))
    return ended.length === 0
      ? 'it did not connect'
      : `its program ended ${ended.length === 1 ? '' : `${ended.length} times `}without connecting (status ${ended[0]?.status ?? 'of a signal'})`;
  const [failure] = observation.all('tls-failed');
  if (!observation.has('secured')) return `its TLS handshake failed (${failure?.reason ?? 'it did not end'})`;
  const [other] = observation.all('publish');
  return other === undefined
    ? 'it connected, and published nothing'
    : `it published to ${other.topic}: is that its serial?`;
}

/** How far a device came after what was done to it. */
export function howFar(observation: Observation, since: number): string {
  const after = observation.after(since);
  const cut = observation.all('closed').some(({ at }) => at >= since);
  const last = observation.replies('accepted').at(-1);
  const refusal = observation.replies('rejected').findLast(({ at, by }) => at >= since && by === 'gateway');
  if (refusal !== undefined && refusal.at >= (last?.at ?? 0))
    return `the gateway told it ${refusal.errorCode ?? 'that it is rejected'}${refusal.reason === undefined ? '' : `: ${refusal.reason}`}`;
  if (last !== undefined && last.at >= since) return 'it got its certificate, and went no further';
  if (cut && !after.some(({ kind }) => kind === 'opened')) return 'it did not connect again';
  const refused = after.filter(({ kind }) => kind === 'tls-failed').length;
  if (refused > 0 && !after.some(({ kind }) => kind === 'secured')) return 'it refused each handshake from then on';
  if (!after.some(({ kind }) => kind === 'request')) return 'it did not ask again';
  if (observation.acks.some(({ template, at }) => template !== undefined && at >= since))
    return 'it asked to be registered, and did not wait for the answer';
  return 'it asked again, and did not wait for its certificate';
}
