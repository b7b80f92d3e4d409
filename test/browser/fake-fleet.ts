import { fakeHelp, fakeSettings } from './fake-texts.ts';

type Device = {
  serial: string;
  state: 'enrolled' | 'provisioning' | 'registered' | 'blocked';
  site?: string;
  certificateId?: string;
  requestedAt?: string;
  registeredAt?: string;
  cameAlive?: { connected: boolean };
  seenAt?: string;
  silentSince?: string;
};
type Step = { at: string; part: string; step: string; outcome: string; [field: string]: unknown };
type Asked = {
  readonly method: string;
  readonly parts: readonly string[];
  readonly query: URLSearchParams;
  readonly body: string;
};
type Answer = { readonly status?: number; readonly body?: unknown };

export type FakeFleet = ReturnType<typeof createFakeFleet>;

/** A time that never changes, so that pictures of the pages do not, either: the browser's clock is set to it. */
export const today = Date.parse('2027-03-09T10:24:00Z');
const iso = (secondsAgo: number) => new Date(today - secondsAgo * 1000).toISOString();
const hex = (seed: number) =>
  Array.from({ length: 64 }, (_, i) => ((seed * 31 + i * i * 7 + i * 13) % 16).toString(16)).join('');
const tokenOf = (n: number) => `K${hex(n + 3).slice(0, 25)}`;

/** Some two hundred devices of a plant, and what the API says and does of them. */
export function createFakeFleet() {
  const devices = new Map<string, Device>(firstDevices().map((device) => [device.serial, device]));
  const timelines = new Map<string, Step[]>();
  let tokens = 0;
  const fleet = {
    devices,
    checks: wellChecks(),
    line: waiting(),
    auditFaults: [] as string[],
    onEvent: (_event: unknown) => {},
    reissuedByOthers: new Map<string, { serial: string; why: string; at: string; by: string }>(),
    now: () => now(fleet.checks, fleet.line.length, [...devices.values()].filter(isSilent).length),
    /** what the gateway does when the device comes: one step a call */
    step(serial: string, step: Omit<Step, 'at'> & { at?: string }, change: Partial<Device> = {}) {
      const device = devices.get(serial) ?? { serial, state: 'enrolled' };
      devices.set(serial, Object.assign(device, change));
      const at = step.at ?? iso(-(timelines.get(serial)?.length ?? 0));
      const entry = { ...step, at } as Step;
      timelines.set(serial, [...(timelines.get(serial) ?? []), entry]);
      fleet.onEvent({
        serial,
        at,
        event: entry.step,
        outcome: entry.outcome,
        ...(entry.errorCode === undefined ? {} : { errorCode: entry.errorCode }),
      });
    },
    answer: (asked: Asked): Answer | undefined => route(asked),
  };

  function route({ method, parts: [what, serial = '', action], query, body }: Asked): Answer | undefined {
    if (what === 'now') return { body: fleet.now() };
    if (what === 'help') return { body: fakeHelp };
    if (what === 'settings') return { body: fakeSettings };
    if (what === 'audit')
      return { body: serial === 'verify' ? verdict() : { records: auditRecords(query.get('serial') ?? '') } };
    if (what === 'line') return method === 'POST' ? toFront(serial) : { body: lineNow() };
    if (what !== 'devices') return undefined;
    if (method === 'GET') return serial === '' ? list(query) : explain(serial);
    if (serial === '') return enrol(JSON.parse(body) as { serial: string; site?: string });
    if (serial === 'labels') return checkLabels(JSON.parse(body) as { labels: { serial: string }[] });
    if (serial === 'bulk') return bulk(JSON.parse(body) as { action: string; serials: string[] });
    if (serial === 'import') return action === 'preview' ? { body: preview(body) } : importRows(body);
    return undefined;
  }

  function checkLabels({ labels }: { labels: { serial: string }[] }): Answer {
    const worthless = labels.flatMap(({ serial }) => fleet.reissuedByOthers.get(serial) ?? []);
    return { body: { worthless } };
  }

  function list(query: URLSearchParams): Answer {
    const limit = Number(query.get('limit') ?? 50);
    const found = [...devices.values()]
      .filter((device) => device.serial.startsWith(query.get('prefix') ?? ''))
      .filter((device) => !query.get('state') || device.state === query.get('state'))
      .filter((device) => !query.get('site') || device.site === query.get('site'))
      .filter((device) => query.get('silent') !== 'true' || isSilent(device))
      .sort((a, b) => (a.serial < b.serial ? -1 : 1));
    const start = Number(query.get('after') ?? 0);
    const next = start + limit < found.length ? { next: `${start + limit}` } : {};
    return { body: { devices: found.slice(start, start + limit), total: found.length, ...next } };
  }

  function enrol({ serial, site }: { serial: string; site?: string }): Answer {
    if (devices.has(serial))
      return {
        status: 409,
        body: {
          error: {
            code: 'AlreadyEnrolled',
            message: `${serial} is enrolled already.`,
            cure: 'For a device that lost its label, open its page and make a new token.',
          },
        },
      };
    devices.set(serial, { serial, state: 'enrolled', ...(site === undefined ? {} : { site }) });
    return { status: 201, body: { serial, token: tokenOf(++tokens) } };
  }

  function bulk({ action, serials }: { action: string; serials: string[] }): Answer {
    const results = serials.map((serial) => {
      const device = devices.get(serial);
      if (device === undefined) return { serial, outcome: 'not-enrolled' };
      if (device.state === 'provisioning')
        return {
          serial,
          outcome: 'being-provisioned',
          reason: 'the device is being provisioned at this moment',
          cure: 'try again in a minute',
        };
      if (action === 'remove') devices.delete(serial);
      if (action === 'block') device.state = 'blocked';
      if (action === 'unblock') device.state = device.certificateId === undefined ? 'enrolled' : 'registered';
      if (action === 'reissue') return { serial, outcome: 'reissued', token: tokenOf(++tokens) };
      return { serial, outcome: action === 'remove' ? 'removed' : `${action}ed` };
    });
    return { body: { results } };
  }

  function read(csv: string) {
    const rows = csv.trim().split(/\r?\n/).slice(1);
    const bad: { line: number; serial?: string; reason: string; cure: string }[] = [];
    const good: { serial: string; site?: string }[] = [];
    for (const [place, row] of rows.entries()) {
      const [serial = '', site] = row.split(',');
      const line = place + 2;
      if (!/^[A-Za-z0-9:_-]{1,128}$/.test(serial))
        bad.push({
          line,
          serial,
          reason: 'The serial has characters that no serial has.',
          cure: 'Use letters, digits, colons, underscores and hyphens alone.',
        });
      else if (devices.has(serial) || good.some((other) => other.serial === serial))
        bad.push({
          line,
          serial,
          reason: 'This serial is enrolled already.',
          cure: 'Leave the row out, or make a new token on the page of the device.',
        });
      else good.push({ serial, ...(site ? { site } : {}) });
    }
    return { rows: rows.length, good, bad };
  }
  const preview = (csv: string) => {
    const { rows, good, bad } = read(csv);
    return { rows, good: good.length, bad };
  };
  function importRows(csv: string): Answer {
    const { good, bad } = read(csv);
    for (const device of good) devices.set(device.serial, { ...device, state: 'enrolled' });
    return { body: { enrolled: good.map((device) => ({ ...device, token: tokenOf(++tokens) })), bad } };
  }

  function lineNow() {
    const requests = fleet.line.map((request, i) => ({ place: i + 1, ...request, etaSeconds: Math.ceil((i + 1) / 8) }));
    return {
      length: requests.length,
      oldestSeconds: requests.length === 0 ? 0 : 14,
      etaSeconds: Math.ceil(requests.length / 8),
      requests,
    };
  }
  function toFront(requestId: string): Answer {
    const found = fleet.line.find((request) => request.requestId === requestId);
    if (found !== undefined) fleet.line = [found, ...fleet.line.filter((request) => request !== found)];
    return { status: 204 };
  }
  const verdict = () => ({ records: 18_442, head: hex(9), faults: fleet.auditFaults });

  function explain(serial: string): Answer {
    const device = devices.get(serial);
    const timeline = timelines.get(serial) ?? (device === undefined ? [] : storyOf(device));
    if (device === undefined) {
      const cure = 'Correct the serial in the firmware, or enrol it: cvm devices add.';
      return {
        body: {
          device: { serial, state: 'not-enrolled' },
          verdict: {
            id: 'unknown-serial',
            title: 'This serial is not enrolled',
            cause: 'Enrolled are: PUMP-0001.',
            cure,
            state: 'problem',
          },
          timeline,
        },
      };
    }
    return { body: { device, verdict: verdictOf(device), timeline } };
  }
  return fleet;
}

const isSilent = (device: Device) => device.state === 'registered' && device.cameAlive?.connected === false;

function firstDevices(): Device[] {
  const kinds = ['PUMP', 'VALVE', 'METER', 'FAN'];
  return Array.from({ length: 212 }, (_, n) => {
    const serial = `${kinds[n % 4]}-${`${Math.floor(n / 4) + 1}`.padStart(4, '0')}`;
    const site = n % 3 === 0 ? 'south' : 'north';
    if (n % 17 === 5) return { serial, site, state: 'enrolled' };
    const certificateId = hex(n);
    const asked = { requestedAt: iso(n * 733 + 40), registeredAt: iso(n * 733 + 36), certificateId };
    if (n % 41 === 9) return { serial, site, state: 'blocked', ...asked };
    const life =
      n % 13 === 4
        ? { cameAlive: { connected: false }, silentSince: asked.registeredAt }
        : { seenAt: iso(n * 67 + 20) };
    return { serial, site, state: 'registered', ...asked, ...life };
  });
}

function waiting() {
  return Array.from({ length: 6 }, (_, n) => ({
    serial: `METER-01${`${n + 20}`}`,
    requestId: `r${n}`,
    since: iso(14 - n * 2),
  }));
}

type Check = { id: string; title: string; state: string; says: string; cure?: string };

function wellChecks(): Check[] {
  return [
    { id: 'redis', title: 'Redis', state: 'ok', says: 'valkey 8.0.1, 14 MB of 256 MB' },
    { id: 'brokers', title: 'Brokers', state: 'ok', says: '1 runs, port 8883' },
    { id: 'workers', title: 'Workers', state: 'ok', says: '2 run' },
    { id: 'aws', title: 'AWS', state: 'ok', says: 'eu-west-1, answers in 38 ms' },
    { id: 'table', title: 'Table', state: 'ok', says: 'cvm-devices' },
    { id: 'policy', title: 'IoT policy', state: 'ok', says: 'cvm-device' },
    { id: 'server-certificate', title: 'Server certificate', state: 'ok', says: 'renewed by itself in 61 days' },
    { id: 'disk', title: 'Disk', state: 'ok', says: '41 GB free' },
    { id: 'sweep', title: 'Last sweep', state: 'ok', says: '22 minutes ago, nothing to repair' },
  ];
}

function now(checks: Check[], length: number, silent: number) {
  const perMinute = Array.from({ length: 60 }, (_, n) => {
    const wave = Math.max(0, Math.round(14 + 11 * Math.sin(n / 6) + 5 * Math.sin(n / 2.3)));
    return { at: iso((59 - n) * 60), vended: wave, refused: n % 9 === 2 ? 2 : 0, repeated: n % 7 === 0 ? 1 : 0 };
  });
  return {
    at: new Date(today).toISOString(),
    version: '0.2.0',
    site: 'north plant',
    ok: checks.every((check) => check.state !== 'failed'),
    checks,
    line: { length, oldestSeconds: length === 0 ? 0 : 14, perSecond: 8, etaSeconds: Math.ceil(length / 8) },
    workers: 2,
    brokers: 1,
    quotas: [
      { name: 'CreateCertificateFromCsr', usedPerSecond: 6.4, limitPerSecond: 10, allowedPerSecond: 10 },
      { name: 'AttachPolicy', usedPerSecond: 6.4, limitPerSecond: 15, allowedPerSecond: 15 },
    ],
    certificates: [
      { name: 'server', host: 'gateway', notAfter: iso(-61 * 86_400) },
      { name: 'site CA', host: 'gateway', notAfter: iso(-3420 * 86_400) },
    ],
    devices: { total: 212, registered: 190, silent },
    perMinute,
    refusals: { InvalidToken: 9, AlreadyProvisioned: 4, Throttled: 1 },
  };
}

function verdictOf(device: Device) {
  if (device.state === 'blocked')
    return {
      id: 'blocked',
      title: 'An operator has blocked this device',
      cause: 'It was blocked by console:maria on 8 March at 16:02.',
      cure: 'Unblock it on this page when it may have its certificate again.',
      state: 'problem',
    };
  if (device.state === 'registered')
    return {
      id: 'fine',
      title: 'The device has its certificate',
      cause: 'It acknowledged that it stored it.',
      cure: '',
      state: 'ok',
    };
  if (device.state === 'provisioning')
    return {
      id: 'being-provisioned',
      title: 'The device is being provisioned',
      cause: 'A worker makes its certificate.',
      cure: '',
      state: 'waiting',
    };
  if (device.serial === 'VALVE-0002')
    return {
      id: 'wrong-token',
      title: 'The device presents a wrong token',
      cause: 'It was refused 7 times since 09:41, last from 10.4.2.31.',
      cure: 'Compare the token in the device with its label. If the label is lost, make a new token on this page and give it to the device.',
      state: 'problem',
    };
  return {
    id: 'never-seen',
    title: 'The device has not been seen',
    cause: 'No connection has named this serial.',
    cure: 'Check that it has power, and that the address and port of the gateway in it are right.',
    state: 'waiting',
  };
}

function storyOf(device: Device): Step[] {
  const enrolled = { at: iso(3 * 86_400), part: 'operator', step: 'enrolled', outcome: 'ok', by: 'console:maria' };
  if (device.serial === 'VALVE-0002') {
    const from = '10.4.2.31';
    return [
      enrolled,
      {
        at: iso(2580),
        part: 'device',
        step: 'connected',
        outcome: 'ok',
        detail: 'named its serial by its topic',
        from,
        unproven: true,
      },
      {
        at: iso(91),
        part: 'broker',
        step: 'refused',
        outcome: 'refused',
        detail: 'The token is not the one of this serial',
        from,
        count: 7,
        since: iso(2580),
        errorCode: 'InvalidToken',
        requestId: 'q-81f2',
        unproven: true,
      },
    ];
  }
  if (device.registeredAt === undefined) return [enrolled];
  const end = Date.parse(device.registeredAt);
  const at = (ms: number) => new Date(end - 2100 + ms).toISOString();
  const requestId = 'q-5d1c';
  const from = '10.4.2.18';
  return [
    enrolled,
    {
      at: at(0),
      part: 'device',
      step: 'connected',
      outcome: 'ok',
      detail: 'named its serial by TLS pre-shared key',
      from,
    },
    {
      at: at(64),
      part: 'broker',
      step: 'stored',
      outcome: 'ok',
      detail: 'the request is stored, PUBACK sent',
      from,
      requestId,
    },
    { at: at(70), part: 'broker', step: 'line', outcome: 'waiting', detail: 'place 7, 1 s', requestId },
    { at: at(912), part: 'aws', step: 'ensureThing', outcome: 'ok', detail: 'makes the thing, 41 ms', requestId },
    { at: at(1020), part: 'aws', step: 'issue', outcome: 'ok', detail: 'creates the certificate, 118 ms', requestId },
    {
      at: at(1100),
      part: 'aws',
      step: 'attach',
      outcome: 'ok',
      detail: 'attaches the certificate to thing and policy, 83 ms',
      requestId,
    },
    {
      at: at(1160),
      part: 'aws',
      step: 'activate',
      outcome: 'ok',
      detail: 'activates the certificate, 39 ms',
      requestId,
    },
    { at: at(1175), part: 'worker', step: 'vended', outcome: 'ok', requestId, certificateId: device.certificateId },
    { at: at(1204), part: 'broker', step: 'answered', outcome: 'ok', detail: 'accepted', requestId },
    {
      at: at(2100),
      part: 'device',
      step: 'acknowledged',
      outcome: 'ok',
      detail: `certificate ${device.certificateId?.slice(0, 12)}…`,
    },
    ...(device.state === 'blocked'
      ? [{ at: iso(66_120), part: 'operator', step: 'blocked', outcome: 'ok', by: 'console:maria' }]
      : []),
  ];
}

function auditRecords(serial: string) {
  const kinds = [
    ['vended', { certificateId: hex(3).slice(0, 24), remoteAddress: '10.4.2.18', part: 'worker' }],
    ['delivered', { certificateId: hex(3).slice(0, 24), part: 'worker' }],
    ['refused', { errorCode: 'InvalidToken', remoteAddress: '10.4.2.31', part: 'broker' }],
    ['enrolled', { by: 'console:maria', part: 'console' }],
    ['blocked', { by: 'console:maria', part: 'console' }],
    ['reissued', { by: 'cli:root', part: 'cli' }],
  ] as const;
  return Array.from({ length: 40 }, (_, n) => {
    const [event, fields] = kinds[(n * 5 + (n >> 2)) % kinds.length] ?? kinds[0];
    return {
      time: iso(n * 211 + 7),
      event,
      serial: `PUMP-${`${(n % 9) + 1}`.padStart(4, '0')}`,
      ...fields,
      hash: hex(n),
    };
  }).filter((record) => serial === '' || record.serial === serial);
}
