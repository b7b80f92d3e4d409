import type { WaitingSabotage, WaitingScenario } from './waiting-world.ts';

/** What may work at the same time on certificates that wait for their device. In each execution one call may also fail. */
export const waitingScenarios: readonly WaitingScenario[] = [
  ...(['rsa', 'CSR one'] as const).map((make) => ({
    name: `a device asks, and an hour passes at any time while a sweep runs, ${make}`,
    waits: [],
    jobs: [{ make, to: 'SN-1' as const }, { sweep: true as const }],
    events: ['hour-over' as const],
  })),
  {
    name: 'a certificate is asked for and never provisioned',
    waits: [],
    jobs: [{ make: 'rsa' }, { make: 'CSR one' }],
    events: ['hour-over'],
  },
  {
    name: 'two workers have the same provision',
    waits: ['w1'],
    jobs: [
      { give: 'w1', to: 'SN-1', request: '1' },
      { give: 'w1', to: 'SN-1', request: '1' },
    ],
    events: ['lease-over'],
    serves: true,
  },
  {
    name: 'a provision by an ownership token, and the hour passes at any time',
    waits: ['w1'],
    jobs: [{ provision: 'w1', to: 'SN-1', by: 'own' }],
    events: ['hour-over', 'lease-over'],
  },
  {
    name: 'an ownership token is used on the connection that got it, and on another one',
    waits: ['w1'],
    jobs: [
      { provision: 'w1', to: 'SN-1', by: 'own' },
      { provision: 'w1', to: 'SN-2', by: 'other' },
    ],
    events: ['lease-over'],
    serves: true,
  },
  {
    name: 'two devices want the same waiting certificate',
    waits: ['w1'],
    jobs: [
      { give: 'w1', to: 'SN-1', request: '1' },
      { give: 'w1', to: 'SN-2', request: '2' },
    ],
  },
  {
    name: 'two holders want to be the same device, of which one may be served',
    waits: ['w1', 'w2'],
    most: 1,
    jobs: [
      { give: 'w1', to: 'SN-1', request: '1' },
      { give: 'w2', to: 'SN-1', request: '2' },
    ],
    events: ['lease-over'],
  },
  {
    name: 'two devices, of which one may be served',
    waits: ['w1', 'w2'],
    most: 1,
    jobs: [
      { give: 'w1', to: 'SN-1', request: '1' },
      { give: 'w2', to: 'SN-2', request: '2' },
    ],
  },
  {
    name: 'a provision while the hour ends and a sweep runs',
    waits: ['w1'],
    jobs: [{ give: 'w1', to: 'SN-1', request: '1' }, { sweep: true }],
    events: ['hour-over'],
  },
  {
    name: 'a device asks with its token while a claim certificate stands for it',
    waits: ['w1'],
    jobs: [{ give: 'w1', to: 'SN-1', request: '1' }, { ask: 'rsa' }],
    events: ['lease-over'],
  },
  ...(['revoke', 'block', 'remove'] as const).map((operator) => ({
    name: `the operator's ${operator} during a provision`,
    waits: ['w1' as const],
    jobs: [{ give: 'w1' as const, to: 'SN-1' as const, request: '1' }, { operator }],
  })),
];

/** Each leaves out one thing that the design rests on; each must be caught, in the scenario that is named. */
export const waitingSabotages: readonly {
  readonly name: string;
  readonly scenario: WaitingScenario;
  readonly sabotage: WaitingSabotage;
}[] = [
  {
    name: 'a certificate is not written down before it is made',
    scenario: find('a certificate is asked for and never provisioned'),
    sabotage: { claims: (whole) => ({ ...whole, intend: async () => undefined, wait: async () => true }) },
  },
  {
    name: 'an ownership token ends after an hour, and its certificate does not',
    scenario: find('a certificate is asked for and never provisioned'),
    sabotage: { claims: (whole) => ({ ...whole, end: async () => false }) },
  },
  {
    name: 'a sweep ends a certificate without asking whether it was given',
    scenario: find('a provision while the hour ends and a sweep runs'),
    sabotage: {
      claims: (whole) => ({
        ...whole,
        async waiting(id) {
          const { given, ...list } = await whole.waiting(id);
          const over = given.map(({ serial: _unknown, ...certificate }) => certificate);
          return { ...list, given, over: [...list.over, ...over] };
        },
      }),
    },
  },
  {
    name: 'a waiting certificate is given without a write that decides',
    scenario: find('a provision while the hour ends and a sweep runs'),
    sabotage: {
      claims: (whole) => ({
        ...whole,
        async give(id, certificateId, { serial, madeAfter }) {
          const { waiting } = await whole.waiting(id);
          const found = waiting.find((each) => each.certificateId === certificateId && each.at > madeAfter);
          return found === undefined ? 'not-waiting' : { ...found, serial };
        },
      }),
    },
  },
  {
    name: 'an ownership token counts after its hour',
    scenario: find('a provision by an ownership token, and the hour passes at any time'),
    sabotage: {
      claims: (whole) => ({
        ...whole,
        give: (id, certificateId, to) => whole.give(id, certificateId, { ...to, madeAfter: 0 }),
      }),
    },
  },
  {
    name: 'an ownership token counts on every connection of its claim certificate',
    scenario: find('an ownership token is used on the connection that got it, and on another one'),
    sabotage: { checkOwnership: () => ({ certificateId: '' }) },
  },
  {
    name: 'a provision that is repeated after a crash finds its certificate given, and is refused',
    scenario: find('two workers have the same provision'),
    sabotage: {
      claims: (whole) => ({
        ...whole,
        async give(id, certificateId, to) {
          const { given } = await whole.waiting(id);
          const isGiven = given.some((each) => each.certificateId === certificateId);
          return isGiven ? 'not-waiting' : whole.give(id, certificateId, to);
        },
      }),
    },
  },
];

function find(name: string): WaitingScenario {
  const found = waitingScenarios.find((each) => each.name === name);
  if (found === undefined) throw new Error(`there is no scenario "${name}"`);
  return found;
}
