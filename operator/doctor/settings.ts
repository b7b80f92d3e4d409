import { type Check, fail, ok, parts, skipped, warn } from './check.ts';
import type { SettingsFacts } from './sources.ts';

export const settingsChecks: readonly Check[] = [
  {
    id: 'settings',
    title: 'settings',
    finds:
      'a setting that is wrong, unknown or missing its other half; settings of an AWS account and of a stand-in mixed',
    parts,
    quick: true,
    atStart: false,
    look: async ({ settings: { problems } }) =>
      problems.length === 0
        ? [ok('fit together')]
        : problems.map((problem) =>
            fail({ seen: problem, cure: 'correct it in the environment or in .env, and start the parts again' }),
          ),
  },
  {
    id: 'new-site',
    title: 'CVM_NEW_SITE',
    finds: 'CVM_NEW_SITE is still set after the first start: the loss of the data folder would not be noticed',
    parts: ['broker'],
    quick: true,
    atStart: false,
    look: async ({ settings: { newSite } }) =>
      newSite
        ? [
            warn({
              seen: 'it is set',
              cause: 'it lets a gateway start with new keys; while it is set, a lost data folder is not noticed',
              cure: 'unset CVM_NEW_SITE once the gateway runs',
            }),
          ]
        : [ok('not set')],
  },
  {
    id: 'quotas',
    title: 'quotas of AWS',
    finds: 'CVM_QUOTAS=off with an AWS account; AWS throttles although the gateway keeps to CVM_QUOTAS',
    parts: ['worker'],
    quick: true,
    atStart: false,
    async look({ settings, throttled }) {
      const { quotasOff, isStandIn } = settings;
      if (quotasOff && !isStandIn)
        return [
          warn({
            seen: 'CVM_QUOTAS is off',
            cause: 'AWS throttles a storm of devices, and each throttled call costs time',
            cure: 'unset CVM_QUOTAS, or write the quotas of your account, as Service Quotas shows them',
          }),
        ];
      // the figures are there also while Redis is away
      const figures = isStandIn ? [] : [ok(assumedText(settings))];
      const read = await throttled();
      if (!('value' in read)) return [...figures, skipped(`whether AWS throttles: ${read.problem}`)];
      if (read.value.length === 0)
        return [...figures, ok('the gateway keeps to CVM_QUOTAS, and AWS does not throttle it')];
      const slowed = read.value.map(({ name, allowedPerSecond, limitPerSecond }) =>
        warn({
          seen: `AWS throttled ${name}: the gateway makes ${allowedPerSecond} calls a second, of ${limitPerSecond}`,
          cause: 'others use the same AWS account, or its quota is lower than CVM_QUOTAS says',
          cure: `compare CVM_QUOTAS with Service Quotas of AWS IoT, and ask AWS to raise ${name}; the gateway becomes faster again by itself`,
        }),
      );
      return [...figures, ...slowed];
    },
  },
];

/** Those of the account are another check: it asks AWS. */
function assumedText({ quotas }: SettingsFacts): string {
  const all = quotas.map(
    ({ operation, perSecond, byDefault }) =>
      `${operation} ${perSecond}${perSecond === byDefault ? '' : ' (CVM_QUOTAS)'}`,
  );
  return `the gateway goes by these calls a second: ${all.join(', ')}. Where not by CVM_QUOTAS, these are the defaults of AWS (docs/quotas.md)`;
}
