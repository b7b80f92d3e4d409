import { lifeOf } from '../registry/came-alive.ts';
import type { Device } from '../registry/device.ts';
import { cureOf as cureOfRow, faultOf } from '../registry/row-faults.ts';
import { serves } from '../registry/site.ts';
import type { Sighting } from '../telemetry/sightings.ts';
import type { ExplainFacts, Explanation, FailedCall, Verdict } from './explanation.ts';
import { type FailureId, failureOfCode, failures, failureText, type GoodStateId, goodStates } from './failures.ts';
import { entriesOf } from './timeline-entries.ts';
import { viewOf } from './view.ts';

/** Puts together what is known of one device. It reads nothing itself. */
export function explain(facts: ExplainFacts): Explanation {
  const { device, serial, near, missing = [] } = facts;
  const shown =
    device === undefined
      ? ({ serial, state: 'not-enrolled' } as const)
      : 'unread' in device
        ? ({ serial, state: 'unknown' } as const)
        : viewOf(device);
  return {
    device: shown,
    verdict: judge(facts),
    timeline: entriesOf(facts),
    ...(near.length === 0 ? {} : { near }),
    ...(missing.length === 0 ? {} : { missing }),
  };
}

/** @param cause what is known of this case, behind what the catalogue says */
function verdict(
  id: FailureId | GoodStateId,
  { serial }: Pick<ExplainFacts, 'serial'>,
  { cause, cure }: { readonly cause?: string | undefined; readonly cure?: string | undefined } = {},
): Verdict {
  const text = failureText(id, serial);
  const state = !(id in goodStates) ? 'problem' : id === 'fine' ? 'ok' : 'waiting';
  return {
    id,
    title: text.title,
    cause: cause === undefined ? text.cause : `${text.cause}. ${cause}`,
    cure: cure ?? text.cure,
    state,
  };
}

/** The first rule that fits decides: from what a person has decided, over what the row says, to what was seen last. */
function judge(facts: ExplainFacts): Verdict {
  const { device } = facts;
  if (device === undefined) return unknownSerial(facts);
  if ('unread' in device) return ofTable(device.unread, facts);
  return (
    ofRow(device, facts) ??
    ofDelivered(device, facts) ??
    ofExpiry(device, facts) ??
    ofRedis(facts) ??
    ofWaiting(facts) ??
    ofLatest(device, facts) ??
    ofSilence(device, facts)
  );
}

/** Only a device whose row names another site is unknown here. */
function unknownSerial(facts: ExplainFacts): Verdict {
  const { near, records, sightings } = facts;
  const removed = records.findLast(({ event }) => event === 'removed');
  const tried = latestOf(sightings.filter(({ name }) => name !== 'acknowledged'));
  const causes = [
    removed && `It was removed at ${shortTime(Date.parse(removed.time))}`,
    tried && `A device with this serial was seen ${seen(tried)}`,
    near.length > 0 ? `Enrolled are: ${near.join(', ')}` : undefined,
  ];
  const cure =
    near.length === 0
      ? undefined
      : `correct the serial in the firmware or here (cvm explain ${near[0]}); if ${facts.serial} is right: cvm devices add ${facts.serial}`;
  return verdict('unknown-serial', facts, { cause: sentence(causes), cure });
}

function ofTable(call: FailedCall & { problem: string; cure?: string }, facts: ExplainFacts): Verdict {
  return verdict(failureOfCall(call), facts, {
    cause: `The table could not be read: ${call.problem}`,
    cure: call.cure,
  });
}

function ofRow(device: Device, facts: ExplainFacts): Verdict | undefined {
  const { serial, table, site, records } = facts;
  if (device.removal !== undefined) return verdict('being-removed', facts);
  const fault = faultOf(device);
  if (fault !== undefined) return verdict('row-broken', facts, { cure: cureOfRow(fault, serial, table) });
  if (device.state === 'blocked') {
    const when = records.findLast(({ event }) => event === 'blocked');
    return verdict('blocked', facts, { cause: when && `It was blocked at ${shortTime(Date.parse(when.time))}` });
  }
  if (!serves(site, device.site)) {
    const cause = `It is enrolled for the site ${device.site ?? '(none)'}, and this gateway serves ${site ?? 'no site in particular'}`;
    const to = site === undefined ? '--no-site' : `--site ${site}`;
    return verdict('other-site', facts, {
      cause,
      cure: `if the device belongs here: cvm devices move ${serial} ${to}. If this is the gateway of ${device.site}: set CVM_SITE=${device.site}, and start it again`,
    });
  }
  return undefined;
}

/** A device that has said that it holds its certificate has a problem if it asks for another one, or never connects with this one. */
function ofDelivered(device: Device, facts: ExplainFacts): Verdict | undefined {
  if (device.state !== 'registered' || device.deliveredAt === undefined) return undefined;
  const { deliveredAt } = device;
  const asked = latestOf(facts.sightings.filter((each) => isOwnRefusal(each) && each.at > deliveredAt));
  if (asked === undefined)
    return ofLife(device, `Since ${shortTime(deliveredAt)} it holds it, as it said itself`, facts);
  return verdict(failureOfSighting(asked) ?? 'already-provisioned', facts, {
    cause: `The token was spent at ${shortTime(deliveredAt)}${addressOfVend(facts)}; the device asked again ${seen(asked)}`,
  });
}

/** So long after its certificate went live a device should have connected with it, with a restart between. Milliseconds. */
const aliveByThenMs = 15 * 60_000;

/** Whether a device that holds its certificate has come alive, as AWS said when it was asked last. */
function ofLife(device: Device, held: string, facts: ExplainFacts): Verdict {
  const { issuedAt = 0, seenAt = 0, lookedAt = 0 } = device;
  const life = lifeOf(device);
  if (life === 'seen')
    return verdict('fine', facts, { cause: `${held}. AWS IoT Core saw it connect at ${shortTime(seenAt)}` });
  if (life === 'silent')
    return verdict(lookedAt - issuedAt < aliveByThenMs ? 'awaits-connection' : 'never-came-alive', facts, {
      cause: `${held}. AWS was asked last at ${shortTime(lookedAt)}`,
    });
  const remark =
    'Whether it has connected to AWS IoT Core is not known yet; a worker asks within minutes, where fleet indexing of AWS is on';
  return verdict('fine', facts, { cause: `${held}. ${remark}` });
}

const isOwnRefusal = (each: Sighting): boolean =>
  each.kind === 'own' && (each.name === 'decided' || each.name === 'answered') && isRefusal(each);

const isRefusal = ({ outcome }: { readonly outcome: string }): boolean =>
  outcome === 'refused' || outcome === 'rejected';

function addressOfVend({ records }: ExplainFacts): string {
  const vended = records.findLast(({ event }) => event === 'vended');
  return vended !== undefined && 'remoteAddress' in vended && vended.remoteAddress !== undefined
    ? `, at the address ${vended.remoteAddress}`
    : '';
}

function ofExpiry({ tokenExpiresAt, state }: Device, facts: ExplainFacts): Verdict | undefined {
  if (tokenExpiresAt === undefined || tokenExpiresAt > facts.now || state === 'registered') return undefined;
  return verdict('token-expired', facts, { cause: `It ended at ${shortTime(tokenExpiresAt)}` });
}

function ofRedis(facts: ExplainFacts): Verdict | undefined {
  const { redis } = facts.health;
  return redis && verdict(redis.id, facts, { cause: redis.problem, cure: redis.cure });
}

/** After so long a request that no worker has taken shows that there is none. Milliseconds. */
const takenByThenMs = 5000;

/** A request that is stored and not decided. */
function ofWaiting(facts: ExplainFacts): Verdict | undefined {
  const { sightings, now, health } = facts;
  const stored = latestOf(sightings.filter(({ name }) => name === 'stored'));
  if (stored?.name !== 'stored') return undefined;
  const ofRequest = sightings.filter((each) => 'requestId' in each && each.requestId === stored.requestId);
  const [place, tried] = [newest(ofRequest, 'waiting'), newest(ofRequest, 'postponed')];
  // it may be answered as an earlier one that wants the same
  const isOver = sightings.some(
    (each) => (each.name === 'decided' || each.name === 'answered') && each.at >= stored.firstAt,
  );
  // what is older than a day is refused, and left nothing behind
  if (isOver || now - stored.at > 86_400_000) return undefined;
  if (health.workers === 'none' && now - stored.firstAt > takenByThenMs)
    return verdict('worker-away', facts, { cause: `It waits since ${shortTime(stored.firstAt)}` });
  if (tried !== undefined && !(place !== undefined && place.at > tried.at + 60_000))
    return verdict(failureOfCall(tried), facts, { cause: callText(tried) });
  if (place !== undefined) return verdict('in-line', facts, { cause: placeText(place.latest) });
  if (now - stored.at < 60_000) return verdict('being-provisioned', facts);
  return undefined;
}

/** The latest sighting that shows a failure, unless a success came after it. */
function ofLatest(device: Device, facts: ExplainFacts): Verdict | undefined {
  const since = Math.max(device.enrolledAt || 0, lastDecision(facts));
  const isRegistered = device.state === 'registered';
  const telling = facts.sightings
    // others may name the serial of a device that has its certificate; that is no failure of it
    .filter((each) => each.at >= since && (!isRegistered || each.kind === 'own'))
    .toSorted((one, other) => other.at - one.at || rank(other) - rank(one));
  for (const latest of telling) {
    if (isSuccess(latest)) return ofUnacknowledged(device, facts, telling);
    // the worker knows why it decided so, the broker what it answered
    const each = decisionBehind(latest, facts.sightings) ?? latest;
    const id = failureOfSighting(each);
    if (id === undefined) continue;
    const { cause, cure } = describe(each, facts);
    return verdict(id, facts, {
      cause: sentence([cause, besides(each, telling), aboutNewToken(id, facts)]),
      ...(cure === undefined ? {} : { cure }),
    });
  }
  return isRegistered ? ofUnacknowledged(device, facts, telling) : undefined;
}

/** Anybody can name the serial of a device: what it did itself, with its token, must not be hidden by that. */
function besides(shown: Sighting, telling: readonly Sighting[]): string | undefined {
  if (shown.kind === 'own') return undefined;
  const own = telling.find((each) => each.kind === 'own' && failureOfSighting(each) !== undefined);
  const id = own && failureOfSighting(own);
  if (own === undefined || id === undefined) return undefined;
  return `Nothing proves that this was the device. With its token it was seen before, ${seen(own)}: ${failures[id].title}`;
}

/** With two operators at one device, the label of the first is worthless as soon as the second has made a new token. */
function aboutNewToken(id: FailureId, { records }: ExplainFacts): string | undefined {
  const made = records.findLast(({ event }) => event === 'reissued');
  if (made === undefined || (id !== 'wrong-token' && id !== 'psk-wrong')) return undefined;
  const by = 'by' in made && typeof made.by === 'string' ? `, by ${made.by}` : '';
  return `A new token was made at ${shortTime(Date.parse(made.time))}${by}: an older label is worthless`;
}

const decisionBehind = (answer: Sighting, all: readonly Sighting[]): Sighting | undefined =>
  answer.name === 'answered'
    ? all.find((each) => each.name === 'decided' && each.requestId === answer.requestId && each.operation !== undefined)
    : undefined;

/** Of two sightings at the same time, the one that says more. */
const rank = (each: Sighting): number =>
  each.name === 'decided' && 'operation' in each ? 3 : each.name === 'too-large' ? 2 : each.name === 'answered' ? 1 : 0;

/** Sightings before this time concern another token, or another state. */
function lastDecision({ records }: ExplainFacts): number {
  const decided = records.findLast(({ event }) => ['reissued', 'unblocked', 'moved', 'enrolled'].includes(event));
  return decided === undefined ? 0 : Date.parse(decided.time);
}

const isSuccess = (each: Sighting): boolean =>
  (each.name === 'decided' && each.outcome !== 'refused') || (each.name === 'answered' && each.outcome !== 'rejected');

/** The device acknowledges at once; one that has not after a minute did not. Milliseconds. */
const acknowledgedByThenMs = 60_000;

function ofUnacknowledged(device: Device, facts: ExplainFacts, telling: readonly Sighting[]): Verdict {
  const { issuedAt = device.requestedAt, state } = device;
  if (state !== 'registered') return verdict('being-provisioned', facts);
  // a device that has connected to AWS with its certificate has stored it, whatever it said here
  if (lifeOf(device) === 'seen')
    return ofLife(device, `It was vended at ${shortTime(issuedAt)}, and has not said that it stored it`, facts);
  const lost = telling.find((each) => each.name === 'too-large' || each.name === 'left' || isSilence(each));
  const id = lost && failureOfSighting(lost);
  // what came after the certificate was made explains why it did not arrive
  if (lost !== undefined && id !== undefined && lost.at >= issuedAt - 60_000 && !isAnsweredAfter(lost, telling))
    return verdict(id, facts, describe(lost, facts));
  if (facts.now - issuedAt < acknowledgedByThenMs) return verdict('answered', facts);
  const life = lifeOf(device);
  const silent = `. AWS has not seen it connect either, as of ${shortTime(device.lookedAt ?? 0)}`;
  return verdict('not-acknowledged', facts, {
    cause: `It was vended at ${shortTime(issuedAt)}; the replay window ends at ${shortTime(issuedAt + facts.replayWindowMs)}${life === 'silent' ? silent : ''}`,
  });
}

const isSilence = (each: Sighting): boolean => each.name === 'closed' && each.why === 'keep-alive';

const isAnsweredAfter = (lost: Sighting, telling: readonly Sighting[]): boolean =>
  lost.name !== 'too-large' && telling.some((each) => each.name === 'answered' && each.at > lost.at && isSuccess(each));

/** Nothing was seen that tells why it has no certificate. */
function ofSilence(device: Device, facts: ExplainFacts): Verdict {
  if (device.state === 'registered') return ofUnacknowledged(device, facts, facts.sightings);
  const connected = latestOf(facts.sightings.filter(({ name }) => name === 'connected'));
  if (connected !== undefined)
    return verdict('left-before-answer', facts, { cause: `It connected ${seen(connected)}, and sent no request` });
  const failed = facts.nameless
    .filter(({ at }) => at >= device.enrolledAt)
    .toSorted((one, other) => other.at - one.at)
    .slice(0, 3);
  const [latest] = failed;
  if (latest?.name !== 'handshake-failed')
    return verdict(facts.health.brokers === 'none' ? 'broker-away' : 'never-seen', facts);
  // a handshake by certificate names no serial, so it may have been this device
  const isOnly = failed.every((each) => each.name === 'handshake-failed' && each.why === latest.why);
  const cause = `A device that named no serial failed at TLS ${seen(latest)}, and may be this one`;
  return isOnly
    ? verdict(failureOfTls(latest.why), facts, { cause })
    : verdict('never-seen', facts, {
        cause: `Devices that named no serial failed at TLS, and one may be this: ${failed
          .map((each) => `${each.name === 'handshake-failed' ? each.why : ''} ${seen(each)}`)
          .join('; ')}`,
      });
}

type TlsWhy = Extract<Sighting, { name: 'handshake-failed' }>['why'];

function failureOfTls(why: TlsWhy): FailureId {
  const known: Readonly<Record<TlsWhy, FailureId>> = {
    'untrusted-ca': 'untrusted-ca',
    'certificate-refused': 'clock-1970',
    'clock-1970': 'clock-1970',
    'certificate-kind': 'no-shared-cipher',
    'no-shared-cipher': 'no-shared-cipher',
    'no-shared-signature': 'no-shared-cipher',
    'no-shared-curve': 'no-shared-cipher',
    'tls-version': 'tls-version',
    'not-tls': 'not-tls',
    'psk-identity': 'psk-unused',
    'psk-unknown': 'psk-unknown',
    'psk-wrong': 'psk-wrong',
    'no-key': 'handshake-ended',
    'handshake-timeout': 'handshake-ended',
    'handshake-ended': 'handshake-ended',
    'tls-failed': 'handshake-ended',
  };
  return known[why];
}

/** The failure that a sighting shows; undefined for one that is no failure. */
export function failureOfSighting(each: Sighting): FailureId | undefined {
  switch (each.name) {
    case 'handshake-failed':
      return failureOfTls(each.why);
    case 'closed':
      return closedFailures[each.why];
    case 'refused':
      return each.keyUnused ? 'psk-unused' : failureOfRefusal(each);
    case 'postponed':
      return failureOfCall(each);
    case 'decided':
      if (each.outcome !== 'refused') return undefined;
      return each.operation === undefined ? failureOfStored(each) : failureOfCall(each);
    case 'answered':
      return each.outcome === 'rejected' ? failureOfStored(each) : undefined;
    case 'too-large':
      return 'packet-too-large';
    case 'left':
      return 'left-before-answer';
    default:
      return undefined;
  }
}

const closedFailures: Readonly<Record<Extract<Sighting, { name: 'closed' }>['why'], FailureId | undefined>> = {
  'keep-alive': 'keep-alive',
  'no-connect': 'mqtt-refused',
  'reads-nothing': 'keep-alive',
  will: 'mqtt-refused',
  'crowded-out': undefined,
  'not-stored': 'redis-away',
  'not-mqtt': 'mqtt-refused',
};

/** Refusals whose code alone says too little. */
const failureOfProblem: Readonly<Partial<Record<string, FailureId>>> = {
  tooManyAttempts: 'too-many-attempts',
  tooManyUnknown: 'too-many-unknown',
  emptyToken: 'empty-token',
  malformedToken: 'malformed-token',
  sharedKey: 'bad-csr',
  packetTooSmall: 'packet-too-large',
  gatewayNotApproved: 'gateway-not-approved',
  rowNeedsOperator: 'row-broken',
  noToken: 'no-token',
  otherSerialOfMessage: 'other-serial',
  otherSerialOfUserName: 'other-serial',
  otherSerialOfKey: 'other-serial',
};

function failureOfRefusal({
  errorCode,
  problem,
}: {
  readonly errorCode?: string | undefined;
  readonly problem?: string | undefined;
}): FailureId | undefined {
  const known = problem === undefined ? undefined : failureOfProblem[problem];
  return known ?? (errorCode === undefined ? undefined : failureOfCode[errorCode as keyof typeof failureOfCode]);
}

/** A request that was stored could be read, so only its template can be what makes it invalid. */
function failureOfStored(each: Parameters<typeof failureOfRefusal>[0]): FailureId | undefined {
  const found = failureOfRefusal(each);
  return found === 'unreadable-request' ? 'template-unfit' : found;
}

const named = (text: string): ReadonlySet<string> => new Set(text.split(' '));
const denied = named('AccessDenied AccessDeniedException UnauthorizedException NotAuthorized ForbiddenException');
const withoutCredentials = named(
  'UnrecognizedClientException InvalidClientTokenId MissingAuthenticationToken MissingAuthenticationTokenException ExpiredToken ExpiredTokenException CredentialsProviderError TokenProviderError InvalidSignatureException SignatureDoesNotMatch NoRegion',
);
const wrongClock = named('RequestTimeTooSkewed RequestExpired RequestInTheFuture');

/** @see https://docs.aws.amazon.com/iot/latest/apireference/CommonErrors.html */
export function failureOfCall({
  operation = '',
  error = '',
  outcome,
}: FailedCall & { readonly outcome?: string }): FailureId {
  if (outcome === 'throttled') return 'aws-throttled';
  if (outcome === 'unreachable' || outcome === 'failed')
    return withoutCredentials.has(error) ? 'aws-credentials' : 'aws-away';
  if (denied.has(error)) return 'aws-denied';
  if (withoutCredentials.has(error)) return 'aws-credentials';
  if (wrongClock.has(error)) return 'gateway-clock';
  if (error === 'ResourceNotFoundException')
    return operation.startsWith('dynamodb:') ? 'table-missing' : 'policy-missing';
  return 'aws-refused';
}

function describe(each: Sighting, facts: ExplainFacts): { cause: string; cure?: string } {
  const calls = 'operation' in each && each.operation !== undefined ? `${callText(each)} ` : '';
  const size = each.name === 'too-large' ? `It takes ${each.maxPacket} bytes. ` : '';
  const cause = `${size}${calls}Seen ${seen(each)}`;
  const id = failureOfSighting(each);
  if (id === 'aws-denied' && 'operation' in each)
    return {
      cause,
      cure: `allow ${each.operation} to the IAM identity of the worker; "cvm aws policy" prints all that it needs`,
    };
  if (
    id === 'psk-unknown' &&
    facts.device !== undefined &&
    !('unread' in facts.device) &&
    facts.device.sealedKeys !== undefined
  )
    return { cause: `${cause}. Its keys are sealed to other gateways, or this one does not know the row yet` };
  return { cause };
}

function callText({ operation, error }: FailedCall): string {
  if (operation === undefined) return 'Which call it was, the log of the worker says.';
  return error === undefined ? `It was ${operation}.` : `AWS answered ${operation} with ${error}.`;
}

/** `3` or `3 120`: place and seconds. */
export function placeText(latest = ''): string | undefined {
  const [position, eta] = latest.split(' ');
  if (position === undefined || position === '') return undefined;
  return `Its place is ${position}${eta === undefined ? '' : `, and its turn comes in about ${eta} s`}`;
}

function newest<Name extends Sighting['name']>(all: readonly Sighting[], name: Name) {
  return latestOf(all.filter((each) => each.name === name)) as Extract<Sighting, { name: Name }> | undefined;
}

const latestOf = (all: readonly Sighting[]): Sighting | undefined =>
  all.reduce<Sighting | undefined>(
    (latest, each) => (latest === undefined || each.at > latest.at ? each : latest),
    undefined,
  );

const sentence = (parts: readonly (string | undefined)[]): string | undefined => {
  const said = parts.filter((part) => part !== undefined);
  return said.length === 0 ? undefined : said.join('. ');
};

/** Last when, from where, how often. */
function seen(each: Sighting): string {
  const from = 'from' in each ? `, from ${each.from}` : '';
  const often = each.count === 1 ? '' : `, ${each.count} times since ${shortTime(each.firstAt)}`;
  return `at ${shortTime(each.at)}${from}${often}`;
}

/** A number that is no time is shown as it is: another tool may have written it into the row. */
export function shortTime(ms: number): string {
  const time = new Date(ms);
  return Number.isNaN(time.getTime()) ? String(ms) : `${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
