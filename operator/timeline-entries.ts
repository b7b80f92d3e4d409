import { lifeOf } from '../registry/came-alive.ts';
import type { ProductRecord } from '../telemetry/audit-events.ts';
import type { Sighting } from '../telemetry/sightings.ts';
import type { ExplainFacts, TimelineEntry } from './explanation.ts';

/** Records of one device that are shown; the latest stay. */
const maxRecords = 200;

/** All that is known of a device, by time. */
export function entriesOf({
  device,
  records,
  sightings,
}: Pick<ExplainFacts, 'device' | 'records' | 'sightings'>): TimelineEntry[] {
  const decided = new Set(
    sightings.flatMap((each) => (each.name === 'decided' || each.name === 'answered' ? [each.requestId] : [])),
  );
  const ofRecords = records
    // the sighting of the same decision says more
    .filter((record) => !('requestId' in record && decided.has(record.requestId)) && !isSeenAsWell(record, sightings))
    // the row has the time of the connection itself
    .filter(({ event }) => event !== 'came-alive')
    .slice(-maxRecords)
    .map(entryOfRecord);
  return [...ofRecords, ...sightings.flatMap(entriesOfSighting), ...lifeEntry(device)].toSorted((one, other) =>
    one.at < other.at ? -1 : one.at > other.at ? 1 : 0,
  );
}

/** The last step of a device's way: its first connection to AWS IoT Core, or that there was none when AWS was asked last. */
function lifeEntry(device: ExplainFacts['device']): TimelineEntry[] {
  if (device === undefined || 'unread' in device) return [];
  const { seenAt, lookedAt } = device;
  const life = lifeOf(device);
  if (life === 'seen' && isTime(seenAt))
    return [
      {
        at: iso(seenAt),
        part: 'device',
        step: 'came-alive',
        outcome: 'ok',
        detail: 'connected to AWS IoT Core with its certificate',
      },
    ];
  return life === 'silent' && isTime(lookedAt)
    ? [
        {
          at: iso(lookedAt),
          part: 'aws',
          step: 'silent',
          outcome: 'waiting',
          detail: 'AWS IoT Core had not seen it connect',
        },
      ]
    : [];
}

/** A refusal of the broker is recorded and seen at the same time. Milliseconds between the clocks of its machine and of Redis. */
const clocksMs = 5000;

function isSeenAsWell(record: ProductRecord, sightings: readonly Sighting[]): boolean {
  if (record.event !== 'refused' || 'requestId' in record) return false;
  const at = Date.parse(record.time);
  return sightings.some(
    (each) =>
      each.name === 'refused' &&
      each.errorCode === record.errorCode &&
      at >= each.firstAt - clocksMs &&
      at <= each.at + clocksMs,
  );
}

const operators = new Set(['enrolled', 'taken-over', 'reissued', 'moved', 'blocked', 'unblocked', 'removed']);

function entryOfRecord(record: ProductRecord): TimelineEntry {
  const { time: at, event } = record;
  const fields = record as Readonly<Record<string, unknown>>;
  const text = (name: string) => (typeof fields[name] === 'string' ? { [name]: fields[name] } : {});
  const about = { ...text('by'), ...text('requestId'), ...text('errorCode') };
  const from = typeof fields.remoteAddress === 'string' ? { from: fields.remoteAddress } : {};
  const detail = typeof fields.certificateId === 'string' ? { detail: `certificate ${fields.certificateId}` } : {};
  const part = operators.has(event) ? 'operator' : record.part === 'broker' ? 'broker' : 'worker';
  const unproven = fields.errorCode === 'InvalidToken' ? { unproven: true as const } : {};
  const outcome = event === 'refused' ? 'refused' : 'ok';
  return { at, part, step: event, outcome, ...detail, ...from, ...about, ...unproven };
}

type Told = Pick<TimelineEntry, 'part' | 'step' | 'outcome'> & { readonly detail?: string | undefined };

function entriesOfSighting(each: Sighting): TimelineEntry[] {
  const { at, firstAt, count, kind } = each;
  const told = tell(each);
  const entry = (of: Told, time: number): TimelineEntry => {
    const { detail, ...rest } = of;
    return {
      at: iso(time),
      ...rest,
      ...(detail === undefined ? {} : { detail }),
      ...(count === 1 ? {} : { count, since: iso(firstAt) }),
      ...('from' in each ? { from: each.from } : {}),
      ...('requestId' in each ? { requestId: each.requestId } : {}),
      ...('errorCode' in each && each.errorCode !== undefined ? { errorCode: each.errorCode } : {}),
      ...(kind === 'own' ? {} : { unproven: true as const }),
    };
  };
  const calls = each.name === 'decided' ? callsOf(each.latest) : [];
  return [...calls.map((call) => entry(call, at)), entry(told, at)];
}

/** `issue 35,attach 20` */
function callsOf(latest = ''): Told[] {
  return latest
    .split(',')
    .filter((each) => each !== '')
    .map((each) => {
      const [step = '', ms = ''] = each.split(' ');
      const failed = ms.startsWith('-');
      const detail = `${stepText[step] ?? step}, ${ms.replace('-', '')} ms`;
      return { part: 'aws', step, outcome: failed ? 'failed' : 'ok', detail };
    });
}

/** The worker's steps at AWS IoT Core, by the names of `issuer/issuer.ts`. */
const stepText: Readonly<Record<string, string>> = {
  endpoint: 'asks for the endpoint',
  ensureThing: 'makes the thing',
  issue: 'creates the certificate',
  findInactive: 'looks for a certificate of an earlier try',
  attach: 'attaches the certificate to thing and policy',
  activate: 'activates the certificate',
  withdraw: 'deletes an earlier certificate',
  configure: 'configures the thing',
};

/** Another tool may have written any number into the row. */
const isTime = (ms: number | undefined): ms is number => ms !== undefined && !Number.isNaN(new Date(ms).getTime());

const iso = (ms: number): string => new Date(ms).toISOString();

function tell(each: Sighting): Told {
  switch (each.name) {
    case 'handshake-failed':
      return { part: 'broker', step: 'tls', outcome: 'failed', detail: each.why };
    case 'connected':
      return { part: 'device', step: 'connected', outcome: 'ok', detail: `named its serial by ${each.by}` };
    case 'closed':
      return { part: 'broker', step: 'closed', outcome: 'failed', detail: each.why };
    case 'refused':
      return { part: 'broker', step: 'refused', outcome: 'refused', detail: each.problem };
    case 'stored':
      return { part: 'broker', step: 'stored', outcome: 'ok', detail: 'the request is stored, PUBACK sent' };
    case 'waiting':
      return { part: 'broker', step: 'line', outcome: 'waiting', detail: placeOf(each.latest) };
    case 'postponed':
      return {
        part: 'aws',
        step: 'postponed',
        outcome: 'failed',
        detail: [each.operation, each.error ?? each.outcome].filter(Boolean).join(' '),
      };
    case 'decided':
      return {
        part: 'worker',
        step: each.outcome,
        outcome: each.outcome === 'refused' ? 'refused' : 'ok',
        detail: each.operation === undefined ? each.problem : `${each.operation} ${each.error ?? ''}`.trim(),
      };
    case 'answered':
      return {
        part: 'broker',
        step: 'answered',
        outcome: each.outcome === 'rejected' ? 'refused' : 'ok',
        detail: each.outcome,
      };
    case 'too-large':
      return {
        part: 'broker',
        step: 'too-large',
        outcome: 'failed',
        detail: `the device takes ${each.maxPacket} bytes`,
      };
    case 'left':
      return { part: 'device', step: 'left', outcome: 'failed', detail: 'closed its connection before the answer' };
    case 'acknowledged':
      return {
        part: 'device',
        step: 'acknowledged',
        outcome: each.spent ? 'ok' : 'refused',
        detail: `certificate ${each.certificateId}`,
      };
  }
}

function placeOf(latest = ''): string | undefined {
  const [position, eta] = latest.split(' ');
  return position === undefined || position === ''
    ? undefined
    : `place ${position}${eta === undefined ? '' : `, ${eta} s`}`;
}
