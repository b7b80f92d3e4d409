import type { Device } from '../../registry/device.ts';
import { type Sabotage, type Scenario, secondToken } from './world.ts';

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
  })),
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
  },
  {
    name: 'two workers carry on with an attempt that died, its reply lost',
    start: 'half-done',
    jobs: [
      { ask: '1', flow: rsa },
      { ask: '1', flow: rsa },
    ],
  },
  {
    name: 'two workers find a create call whose answer was lost',
    start: 'answer-lost',
    jobs: [
      { ask: '1', flow: csr },
      { ask: '1', flow: csr },
    ],
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
    name: 'a repeated request, the reply vanishes at any time',
    start: 'registered',
    jobs: [
      { ask: '1', flow: rsa },
      { ask: '2', flow: rsa },
    ],
    events: ['reply-gone'],
  },
  {
    name: 'two workers replace the certificate of a reissued device',
    start: 'reissued',
    jobs: [
      { ask: '1', flow: ec },
      { ask: '1', flow: ec },
    ],
  },
  {
    name: 'a reissued device whose first attempt died',
    start: 'reissued-half-done',
    jobs: [
      { ask: '1', flow: rsa },
      { ask: '1', flow: rsa },
    ],
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
    events: ['reply-gone'],
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
    events: ['grace-over'],
  },
  {
    name: 'two sweeps and a device that asks again, after a lost answer',
    start: 'answer-lost',
    jobs: [{ ask: '1', flow: csr }, { sweep: true }, { sweep: true }],
    events: ['grace-over'],
  },
];

/** Each leaves out one thing that the design rests on; each must be caught, in the scenario that is named. */
export const sabotages: readonly { readonly name: string; readonly scenario: Scenario; readonly sabotage: Sabotage }[] =
  [
    {
      name: 'record is not conditional',
      scenario: find('two workers work on the same request, rsa'),
      sabotage: {
        registry: (whole, rows) => ({
          ...whole,
          async recordCertificate(serial, _attempt, { certificateId }) {
            const row = rows.get(serial);
            if (row !== undefined) rows.set(serial, { ...row, certificateId });
            return true;
          },
          async finish(serial, _attempt, certificateId, now) {
            const row = rows.get(serial) as Device;
            rows.set(serial, { ...row, certificateId, state: 'registered', issuedAt: now });
            return true;
          },
        }),
      },
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
      name: 'what is deleted is not pendingDeletion first',
      scenario: find('two workers find a create call whose answer was lost'),
      sabotage: { registry: (whole) => ({ ...whole, markForDeletion: async () => 'no-row' as const }) },
    },
    {
      name: 'a claim does not raise the fence',
      scenario: find('two workers work on the same request, rsa'),
      sabotage: {
        registry: (whole, rows) => ({
          ...whole,
          async claim(request) {
            const before = rows.get(request.serial)?.attempt ?? 0;
            const claim = await whole.claim(request);
            if (claim.outcome !== 'claimed' || before === 0) return claim;
            const device = { ...claim.device, attempt: before };
            rows.set(request.serial, device);
            return { outcome: 'claimed', device };
          },
        }),
      },
    },
    {
      name: 'a create call is not written down',
      scenario: find('two workers work on the same request, rsa'),
      sabotage: { registry: (whole) => ({ ...whole, recordCreateIntent: async () => true }) },
    },
  ];

function find(name: string): Scenario {
  const found = scenarios.find((each) => each.name === name);
  if (found === undefined) throw new Error(`there is no scenario "${name}"`);
  return found;
}
