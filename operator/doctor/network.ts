import { type Check, fail, ok, parts, skipped, type Verdict, warn } from './check.ts';
import type { PortFacts } from './sources.ts';

export const networkChecks: readonly Check[] = [
  {
    id: 'mqtt-port',
    title: 'port for devices',
    finds: 'another program has CVM_MQTT_PORT; this user may not open it; CVM_LISTEN is no address of this machine',
    parts: ['broker'],
    quick: true,
    atStart: false,
    look: async ({ port }) => [judgePort(await port())],
  },
  {
    id: 'proxy',
    title: 'proxy',
    finds: 'the proxy of HTTPS_PROXY or HTTP_PROXY, where calls to AWS go through it, cannot be reached',
    parts: ['worker'],
    quick: true,
    atStart: false,
    async look({ proxies }) {
      const found = await proxies();
      if (found.length === 0) return [ok('none is set: AWS is reached directly')];
      return found.map(({ setting, problem, cure, unused }) => {
        if (unused) return ok(`${setting}: no call to AWS goes through it (NO_PROXY, or a stand-in on this machine)`);
        return problem === undefined
          ? ok(`${setting}: it takes connections`)
          : fail({
              seen: `${setting}: ${problem}`,
              cause: 'no call to AWS leaves this machine',
              cure: cure ?? `start the proxy, or correct ${setting}; hosts that need no proxy belong into NO_PROXY`,
            });
      });
    },
  },
  {
    id: 'clock-synchronized',
    title: 'clock',
    finds: 'the machine says that its clock is not kept by NTP (systemd-timesyncd)',
    parts,
    quick: true,
    atStart: false,
    async look({ timeIsSynchronized }) {
      const is = await timeIsSynchronized();
      if (is === undefined) return [skipped('this machine does not say whether NTP keeps its clock')];
      return [
        is
          ? ok('kept by NTP')
          : warn({
              seen: 'NTP does not keep it now',
              cause: 'when the clock is wrong by minutes, AWS refuses calls and devices refuse certificates',
              cure: 'look at "timedatectl status": allow NTP (UDP 123) to a time server, or name one of the site in /etc/systemd/timesyncd.conf',
            }),
      ];
    },
  },
];

function judgePort({ port, listen, state }: PortFacts): Verdict {
  const at = `${listen}, port ${port}`;
  const settings = 'CVM_LISTEN or CVM_MQTT_PORT';
  switch (state) {
    case 'any':
      return skipped('CVM_MQTT_PORT is 0: the broker takes a free one');
    case 'free':
      return ok(`${at} is free`);
    case 'ours':
      return ok(`${at} is held by the broker of this gateway`);
    case 'taken':
      return fail({
        seen: `another program has ${at}`,
        cause: 'the broker cannot open it',
        cure: `stop that program ("ss -ltnp" names it), or correct ${settings}`,
      });
    case 'not-allowed':
      return fail({
        seen: `this user may not open ${at}`,
        cause: 'a program needs a special right to open a port below 1024',
        cure: `take a port from 1024 in CVM_MQTT_PORT, or give the right (AmbientCapabilities=CAP_NET_BIND_SERVICE)`,
      });
    case 'no-address':
      return fail({
        seen: `this machine has no address ${listen}`,
        cause: 'the broker cannot listen there',
        cure: 'correct CVM_LISTEN: 0.0.0.0 is every address of this machine',
      });
  }
}
