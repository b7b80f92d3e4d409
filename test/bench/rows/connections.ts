import { type IdleRow, measureConnections, usualLoad } from '../connection-cost.ts';
import { type Row, type RowContext, rounded } from '../row.ts';

/** Against mosquitto's full handshake, whatever that of the gateway is. */
const goals = { full: 2, psk: 1, ticket: 1 } as const;

export const connections: Row = {
  name: 'connections',
  title: 'TLS connect, CONNACK and close, and an idle connection, beside mosquitto',
  minutes: 6,
  async run({ checkout, say }: RowContext) {
    const { connects, idle } = await measureConnections(checkout, usualLoad, say);
    const ofIdle = slope(idle);
    return {
      figures: [
        ...connects.map(({ version, handshake, gatewayMs, mosquittoMs, ratio, floorMs, floorRatio }) => ({
          name: `CPU of a connection, ${version}, ${handshake}`,
          value: rounded(ratio),
          unit: `× mosquitto's full handshake (${rounded(gatewayMs)} and ${rounded(mosquittoMs)} ms; bare Node.js ${rounded(floorMs)} ms, ${rounded(floorRatio)} ×)`,
          goal: `≤ ${goals[handshake]} ×`,
          holds: ratio <= goals[handshake],
        })),
        {
          name: 'memory of an idle connection',
          value: rounded(ofIdle.ratio),
          unit: `× mosquitto's (${rounded(ofIdle.gatewayKib, 1)} and ${rounded(ofIdle.mosquittoKib, 1)} KiB; bare Node.js ${rounded(ofIdle.floorKib, 1)} KiB)`,
          goal: '≤ 1.8 ×',
          holds: ofIdle.ratio <= 1.8,
        },
      ],
    };
  },
};

/** What each further connection takes: the first ones find memory that earlier work has left free. */
function slope(rows: readonly IdleRow[]): Omit<IdleRow, 'connections'> {
  const [first, last] = [rows.at(0), rows.at(-1)];
  const more = (last?.connections ?? 0) - (first?.connections ?? 0);
  const each = (part: 'gatewayKib' | 'mosquittoKib' | 'floorKib') =>
    first === undefined || last === undefined
      ? Number.NaN
      : (last[part] * last.connections - first[part] * first.connections) / more;
  const [gatewayKib, mosquittoKib, floorKib] = [each('gatewayKib'), each('mosquittoKib'), each('floorKib')];
  return { gatewayKib, mosquittoKib, floorKib, ratio: gatewayKib / mosquittoKib };
}
