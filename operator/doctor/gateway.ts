import { cureAt, quoted } from '../said-troubles.ts';
import { type Check, fail, ok, parts, skipped, warn } from './check.ts';

export const gatewayChecks: readonly Check[] = [
  {
    id: 'gateway-approved',
    title: 'approval of this gateway',
    finds: 'the table has not approved the key of this gateway: what it stores is refused',
    parts: ['broker'],
    quick: false,
    atStart: false,
    async look({ gateway }) {
      const read = await gateway();
      if ('problem' in read) return [skipped(read.problem)];
      const { id, state } = read.value;
      if (id === undefined) return [skipped('it has no key yet: the broker makes it at its first start')];
      if (state === 'approved') return [ok(`${id} is approved`)];
      return [
        fail({
          seen: state === 'waiting' ? `${id} waits for approval` : `the table does not know ${id}`,
          cause: 'devices that ask this gateway are refused until it is approved',
          cure:
            state === 'waiting'
              ? `compare the id with "cvm tls show" here, and run "cvm tls approve ${id}"`
              : 'start the broker and a worker, which note it in the table; then run "cvm tls gateways" and "cvm tls approve ID"',
        }),
      ];
    },
  },
  {
    id: 'one-table',
    title: 'one table on one Redis',
    finds: 'workers of another table serve this Redis, or the broker trusts another table than the one of the settings',
    parts,
    quick: false,
    // the worker that publishes the key, and the broker that trusts it, say it by themselves
    atStart: false,
    async look({ tableKeys }) {
      const read = await tableKeys();
      if ('problem' in read) return [skipped(read.problem)];
      const { inRedis, ofTable, pinned } = read.value;
      const known = ofTable ?? pinned;
      if (inRedis !== undefined && known !== undefined && inRedis !== known)
        return [
          fail({
            seen: `Redis has the key ${inRedis} of a table, and that of this gateway is ${known}`,
            cause: 'workers of two tables take requests from one Redis: half of the answers are thrown away',
            cure: 'stop the workers of one of them, or give each gateway a Redis (or a database number) of its own. In compose: docker compose down with both profiles, then start one',
          }),
        ];
      if (pinned !== undefined && ofTable !== undefined && pinned !== ofTable)
        return [
          fail({
            seen: `the broker trusts the table ${pinned}, and CVM_TABLE is ${ofTable}`,
            cause: 'the broker drops every answer for devices of the table CVM_TABLE',
            cure: 'correct CVM_TABLE or AWS_REGION; where the table was replaced on purpose, remove table.pub in the tls folder of the data folder, and restart the broker',
          }),
        ];
      return [inRedis === undefined ? skipped('no worker has published the key of its table yet') : ok('one')];
    },
  },
  {
    id: 'processes',
    title: 'brokers and workers',
    finds: 'no broker or no worker runs, one has a trouble, or they are of different versions',
    parts,
    quick: false,
    atStart: false,
    async look({ processes }) {
      const read = await processes();
      if ('problem' in read) return [skipped(read.problem)];
      const missing = parts.filter((part) => !read.value.some((each) => each.part === part));
      const troubled = read.value.filter(({ troubles }) => troubles.length > 0);
      const versions = [...new Set(read.value.map(({ version }) => version))];
      const verdicts = [
        ...missing.map((part) =>
          warn({
            seen: `no ${part} runs`,
            cause: part === 'broker' ? 'no device can connect' : 'requests are stored, and are not answered',
            cure: `start it: "cvm ${part}", "cvm up", or "docker compose up --detach"`,
          }),
        ),
        ...troubled.map(({ part, host, troubles }) =>
          fail({ seen: `the ${part} on ${host} says: ${quoted(troubles)}`, cure: cureAt(host) }),
        ),
        ...(versions.length > 1
          ? [
              warn({
                seen: `they are of the versions ${versions.join(', ')}`,
                cure: 'bring all processes of a site to the same version',
              }),
            ]
          : []),
      ];
      return verdicts.length > 0 ? verdicts : [ok(`${read.value.length} run`)];
    },
  },
];
