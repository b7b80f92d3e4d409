import type { Device } from '../../registry/device.ts';
import type { Registry } from '../../registry/registry.ts';
import { replayWindowMs, type Sabotage, type SabotagedState, type Scenario, secondToken } from './world.ts';

const [rsa, ec, csr, otherCsr] = [{ key: 'rsa' }, { key: 'ec' }, { csrPem: 'CSR one' }, { csrPem: 'CSR two' }] as const;

/** The processes that may work on one device at the same time. In each execution one call of one of them may also fail. */
export const scenarios: readonly Scenario[] = [
  ...([rsa, ec, csr] as const).map((flow) => ({
    name: `two workers work on the same request, ${'key' in flow ? flow.key : 'CSR'}`,
    start: 'enrolled' as const,
    jobs: [
      { ask: '1', flow },
      { ask: '1', flow },
    ],
    events: ['given-on' as const],
  })),
  {
    name: 'two workers work on the same request, which names a template',
    start: 'enrolled',
    jobs: [
      { ask: '1', flow: { ...rsa, byTemplate: true } },
      { ask: '1', flow: { ...rsa, byTemplate: true } },
    ],
    events: ['given-on'],
  },
  {
    name: 'a device names a template in one of two requests, the lease ends at any time',
    start: 'enrolled',
    jobs: [
      { ask: '1', flow: ec },
      { ask: '2', flow: { ...ec, byTemplate: true } },
    ],
    events: ['lease-over'],
  },
  {
    name: 'an operator reissues a device that names a template',
    start: 'enrolled',
    jobs: [{ ask: '1', flow: { ...ec, byTemplate: true } }, { operator: 'reissue' }],
    events: ['lease-over'],
  },
  {
    name: 'two requests of one device, the lease ends at any time',
    start: 'enrolled',
    jobs: [
      { ask: '1', flow: rsa },
      { ask: '2', flow: rsa },
    ],
    events: ['lease-over'],
  },
  {
    name: 'three workers work on the same request',
    start: 'enrolled',
    jobs: [
      { ask: '1', flow: ec },
      { ask: '1', flow: ec },
      { ask: '1', flow: ec },
    ],
    events: ['given-on'],
  },
  {
    name: 'two workers carry on with an attempt that died, its reply lost',
    start: 'half-done',
    jobs: [
      { ask: '1', flow: rsa },
      { ask: '1', flow: rsa },
    ],
    events: ['given-on'],
  },
  {
    name: 'two workers find a create call whose answer was lost',
    start: 'answer-lost',
    jobs: [
      { ask: '1', flow: csr },
      { ask: '1', flow: csr },
    ],
    events: ['given-on'],
  },
  {
    name: 'a device that changed its key',
    start: 'enrolled',
    jobs: [
      { ask: '1', flow: csr },
      { ask: '2', flow: otherCsr },
    ],
    events: ['lease-over'],
  },
  {
    name: 'two devices with the same key pair',
    start: 'copied',
    jobs: [
      { ask: '1', flow: csr },
      { ask: '2', flow: csr, isCopy: true },
    ],
  },
  {
    name: 'two devices with the same key pair, one of which looks for a certificate whose answer was lost',
    start: 'copied-answer-lost',
    jobs: [
      { ask: '1', flow: csr },
      { ask: '2', flow: csr, isCopy: true },
    ],
  },
  {
    name: 'a device that an earlier version registered asks twice, and its reply is lost',
    start: 'registered-without-reply',
    jobs: [
      { ask: '1', flow: rsa },
      { ask: '2', flow: rsa },
    ],
  },
  {
    name: 'old requests of registered devices, without a reply in the row',
    start: 'registered-without-reply',
    jobs: [
      { ask: '1', flow: rsa, isOld: true },
      { ask: '2', flow: rsa, isOld: true },
    ],
    isSilent: true,
  },
  {
    name: 'an old request out of a Redis that forgot the rest',
    start: 'registered',
    jobs: [{ ask: '1', flow: rsa, isOld: true }],
    events: ['redis-forgets'],
    isSilent: true,
  },
  ...([rsa, ec] as const).map((flow) => ({
    name: `a device asks at two gateways at once, ${flow.key}`,
    start: 'enrolled' as const,
    jobs: [
      { ask: '1', flow },
      { ask: '2', flow, gateway: 'there' as const },
    ],
    events: ['lease-over' as const, 'redis-forgets' as const],
  })),
  {
    name: 'a registered device asks at two gateways, one of which has lost its Redis',
    start: 'registered',
    jobs: [
      { ask: '1', flow: rsa, gateway: 'there' },
      { ask: '2', flow: rsa },
      { ask: '3', flow: rsa, gateway: 'there' },
    ],
    events: ['redis-forgets'],
  },
  {
    name: 'AWS is away for as long as the replay window, in the middle of an attempt',
    start: 'enrolled',
    jobs: [
      { ask: '1', flow: ec },
      { ask: '2', flow: ec },
    ],
    events: ['window-over', 'lease-over'],
  },
  {
    name: 'a spent token on a table that was restored from a backup',
    start: 'restored',
    jobs: [
      { ask: '1', flow: ec },
      { ask: '1', flow: ec },
    ],
    events: ['given-on', 'lease-over'],
  },
  ...([rsa, ec] as const).map((flow) => ({
    name: `a worker is frozen while its device is removed and enrolled again, ${flow.key}`,
    start: 'enrolled' as const,
    jobs: [{ ask: '1', flow }, { operator: 'replace' as const }],
  })),
  {
    name: 'a worker is frozen with a half-done attempt while its device is removed and enrolled again',
    start: 'half-done',
    jobs: [{ ask: '1', flow: rsa }, { operator: 'replace' }],
  },
  {
    name: 'two workers replace the certificate of a reissued device',
    start: 'reissued',
    jobs: [
      { ask: '1', flow: ec },
      { ask: '1', flow: ec },
    ],
    events: ['given-on'],
  },
  {
    name: 'a reissued device whose first attempt died',
    start: 'reissued-half-done',
    jobs: [
      { ask: '1', flow: rsa },
      { ask: '1', flow: rsa },
    ],
    events: ['given-on'],
  },
  ...(['reissue', 'block', 'remove'] as const).map((operator) => ({
    name: `the operator's ${operator} during an attempt`,
    start: 'enrolled' as const,
    jobs: [{ ask: '1', flow: ec }, { operator }],
  })),
  {
    name: 'the operator reissues while two workers are at it, and the device asks with its new token',
    start: 'half-done',
    jobs: [{ ask: '1', flow: rsa }, { operator: 'reissue' }, { ask: '2', flow: rsa, token: secondToken }],
  },
  {
    name: 'the operator removes a registered device that asks again',
    start: 'registered',
    jobs: [{ ask: '1', flow: rsa }, { operator: 'remove' }],
    events: ['redis-forgets'],
  },
  {
    name: 'a sweep during an attempt, a quarter of an hour passes at any time',
    start: 'enrolled',
    jobs: [{ ask: '1', flow: ec }, { sweep: true }],
    events: ['grace-over'],
  },
  {
    name: 'a sweep while two workers carry on with an attempt that died long ago',
    start: 'half-done',
    jobs: [{ ask: '1', flow: rsa }, { sweep: true }, { ask: '1', flow: rsa }],
    events: ['given-on', 'grace-over'],
  },
  {
    name: 'two sweeps and a device that asks again, after a lost answer',
    start: 'answer-lost',
    jobs: [{ ask: '1', flow: csr }, { sweep: true }, { sweep: true }],
    events: ['grace-over'],
  },
  {
    name: 'a device of one site asks there and at another site',
    start: 'enrolled',
    hasSites: true,
    jobs: [
      { ask: '1', flow: rsa },
      { ask: '2', flow: rsa, gateway: 'there' },
    ],
    events: ['lease-over'],
  },
  ...([rsa, ec] as const).map((flow) => ({
    name: `the operator moves a device to another site during an attempt, and it asks there, ${flow.key}`,
    start: 'enrolled' as const,
    hasSites: true as const,
    jobs: [{ ask: '1', flow }, { operator: 'move' as const }, { ask: '2', flow, gateway: 'there' as const }],
  })),
  {
    name: 'the operator moves a registered device, which asks at both sites',
    start: 'registered',
    hasSites: true,
    jobs: [{ ask: '1', flow: rsa }, { operator: 'move' }, { ask: '2', flow: rsa, gateway: 'there' }],
  },
  {
    name: 'the operator moves a device whose attempt died',
    start: 'half-done',
    hasSites: true,
    jobs: [{ operator: 'move' }, { ask: '1', flow: rsa }, { ask: '2', flow: rsa, gateway: 'there' }],
  },
];

/** As at 4851c71: the attempts of a row are told apart by their number. */
function numberedFence(whole: Registry, { rows }: SabotagedState): Registry {
  return {
    ...whole,
    async claim(request) {
      const claim = await whole.claim(request);
      if (claim.outcome !== 'claimed') return claim;
      const device = { ...claim.device, claimId: String(claim.device.attempt) };
      rows.set(request.serial, device);
      return { outcome: 'claimed', device };
    },
  };
}

/** As at 4851c71: a reply is kept in the Redis of the gateway, for the replay window from when it was sealed. */
function repliesInRedis(whole: Registry, { rows, clock, gateway, redis: all }: SabotagedState): Registry {
  const redis = all[gateway];
  const withReply = (device: Device): Device => {
    const { keptReply: _inTheRow, ...rest } = device;
    const { sealed, until } = redis.get(device.certificateId ?? '') ?? { sealed: '', until: 0 };
    return until > clock.now ? { ...rest, keptReply: sealed } : rest;
  };
  return {
    ...whole,
    async recordCertificate(attempt, certificate) {
      const outcome = await whole.recordCertificate(attempt, certificate);
      if (outcome !== 'recorded') return outcome;
      const { certificateId, keptReply } = certificate;
      redis.set(certificateId, { sealed: keptReply ?? '', until: clock.now + replayWindowMs });
      const { keptReply: _elsewhere, ...row } = rows.get(attempt.serial) as Device;
      rows.set(attempt.serial, row);
      return 'recorded';
    },
    async claim(request) {
      const { keptReply: _elsewhere, ...row } = rows.get(request.serial) as Device;
      rows.set(request.serial, row);
      const claim = await whole.claim(request);
      return 'device' in claim ? { ...claim, device: withReply(claim.device) } : claim;
    },
  };
}

/** Each leaves out one thing that the design rests on; each must be caught, in the scenario that is named. */
export const sabotages: readonly { readonly name: string; readonly scenario: Scenario; readonly sabotage: Sabotage }[] =
  [
    {
      name: 'record is not conditional',
      scenario: find('two workers work on the same request, rsa'),
      sabotage: {
        registry: (whole, { rows }) => ({
          ...whole,
          async recordCertificate({ serial }, { certificateId, keptReply }) {
            const row = rows.get(serial);
            if (row !== undefined) rows.set(serial, { ...row, certificateId, keptReply: keptReply ?? '' });
            return 'recorded';
          },
          async finish({ serial }, certificateId, now) {
            const row = rows.get(serial) as Device;
            rows.set(serial, { ...row, certificateId, state: 'registered', issuedAt: now });
            return true;
          },
        }),
      },
    },
    {
      name: 'a template is not carried out before its certificate works',
      scenario: find('two workers work on the same request, which names a template'),
      sabotage: { issuer: (whole) => ({ ...whole, configure: async () => true }) },
    },
    {
      name: 'withdrawing is not final: the certificate is only deactivated',
      scenario: find('two workers carry on with an attempt that died, its reply lost'),
      sabotage: { issuer: (whole) => ({ ...whole, withdraw: (id) => whole.deactivate(id) }) },
    },
    {
      name: 'a certificate that makes way is deactivated before the new one goes live, and deleted only after',
      scenario: {
        name: 'two workers, one of them frozen with a certificate that makes way',
        start: 'half-done',
        jobs: [
          { ask: '1', flow: rsa },
          { ask: '1', flow: rsa },
        ],
        events: ['given-on'],
      },
      sabotage: {
        issuer(whole) {
          const later: string[] = [];
          return {
            ...whole,
            async withdraw(id) {
              await whole.deactivate(id);
              later.push(id);
            },
            async activate(id) {
              await whole.activate(id);
              for (const old of later.splice(0)) await whole.withdraw(old);
            },
          };
        },
      },
    },
    {
      name: 'what is deleted is not marked first',
      scenario: find('two workers find a create call whose answer was lost'),
      sabotage: { registry: (whole) => ({ ...whole, markForDeletion: async () => 'no-row' as const }) },
    },
    {
      name: 'a claim does not raise the fence',
      scenario: find('two workers work on the same request, rsa'),
      sabotage: {
        makeId: () => 'always-the-same',
      },
    },
    {
      name: 'the fence is a number, which begins again when a device is enrolled anew',
      scenario: find('a worker is frozen while its device is removed and enrolled again, rsa'),
      sabotage: { registry: numberedFence },
    },
    {
      name: 'a reply is kept by the gateway that vended the certificate',
      scenario: find('a device asks at two gateways at once, rsa'),
      sabotage: { registry: repliesInRedis },
    },
    {
      name: 'a reply ends a replay window after it was sealed',
      scenario: find('AWS is away for as long as the replay window, in the middle of an attempt'),
      sabotage: { registry: (whole, state) => repliesInRedis(whole, { ...state, gateway: 'here' }) },
    },
    {
      name: 'an old request reopens the row of a registered device',
      scenario: find('an old request out of a Redis that forgot the rest'),
      sabotage: { registry: repliesInRedis, believesOldRequests: true },
    },
    {
      name: 'the thing of a restored row is not asked for its certificates',
      scenario: find('a spent token on a table that was restored from a backup'),
      sabotage: { issuer: (whole) => ({ ...whole, certificatesOf: async () => [] }) },
    },
    {
      name: 'a claim does not look at the site',
      scenario: find('a device of one site asks there and at another site'),
      sabotage: {
        registry: (whole, { rows }) => ({
          ...whole,
          claim: (request) => whole.claim({ ...request, site: rows.get(request.serial)?.site }),
        }),
      },
    },
    {
      name: 'a key is not tied to its device',
      scenario: find('two devices with the same key pair'),
      sabotage: {
        registry: (whole) => ({
          ...whole,
          recordCertificate: (attempt, { keyDigest: _untied, ...certificate }) =>
            whole.recordCertificate(attempt, certificate),
        }),
      },
    },
    {
      name: 'a key is tied to its device in a write of its own, after the record',
      scenario: find('two devices with the same key pair'),
      sabotage: {
        registry: (whole, { rows }) => ({
          ...whole,
          async recordCertificate(attempt, certificate) {
            const { keyDigest, ...rest } = certificate;
            const outcome = await whole.recordCertificate(attempt, rest);
            if (outcome !== 'recorded' || keyDigest === undefined) return outcome;
            rows.set(attempt.serial, { ...(rows.get(attempt.serial) as Device), keyDigest });
            return (await whole.keyHolder(keyDigest)) === undefined
              ? whole.recordCertificate(attempt, certificate)
              : 'key-taken';
          },
        }),
      },
    },
    {
      name: 'a certificate for the key of another device is deleted, although that device has recorded it',
      scenario: find('two devices with the same key pair, one of which looks for a certificate whose answer was lost'),
      sabotage: { registry: (whole) => ({ ...whole, keyHolder: async () => undefined }) },
    },
    {
      name: 'a create call is not written down',
      scenario: find('two workers work on the same request, rsa'),
      sabotage: {
        registry: (whole) => ({
          ...whole,
          claim: ({ intends: _unwritten, ...request }) => whole.claim(request),
          recordCreateIntent: async () => true,
        }),
      },
    },
  ];

function find(name: string): Scenario {
  const found = scenarios.find((each) => each.name === name);
  if (found === undefined) throw new Error(`there is no scenario "${name}"`);
  return found;
}
