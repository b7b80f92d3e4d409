import type { Gateways, KnownGateway } from '../gateways.ts';
import { number, text } from './attributes.ts';
import type { AttributeValue, Clause, DynamoTable } from './table.ts';

/** Nothing is sealed to a gateway that has not announced itself for so long. */
const silentMs = 30 * 86_400_000;

const key = '#gateways';
const prefix = 'gateway-';

/** The gateways as attributes of one row of the association table: they are few. */
export function createDynamoGateways(table: DynamoTable): Gateways {
  async function all(): Promise<KnownGateway[]> {
    const item = (await table.get(key)) ?? {};
    return Object.entries(item).flatMap(([attribute, { M }]) => {
      const publicKey = M?.publicKey?.S;
      if (!attribute.startsWith(prefix) || publicKey === undefined) return [];
      return [{ id: attribute.slice(prefix.length), publicKey, seenAt: Number(M?.seenAt?.N ?? 0) }];
    });
  }

  return {
    async record({ id, publicKey }, seenAt) {
      const gateway = { publicKey: text.write(publicKey), seenAt: number.write(seenAt) };
      await table.update(key, setting(id, gateway), ({ name, key: attribute, value }) => {
        const forgottenAt = `${attribute(prefix + id)}.${name('forgottenAt')}`;
        return `attribute_not_exists(${forgottenAt}) OR ${forgottenAt} < ${value(number.write(seenAt))}`;
      });
    },
    async known(now) {
      return (await all()).filter(({ seenAt }) => seenAt > now - silentMs);
    },
    async forget(id, now) {
      const gateway = (await all()).find((other) => other.id === id);
      if (gateway === undefined) return false;
      // its clock may be ahead of ours
      await table.update(key, setting(id, { forgottenAt: number.write(Math.max(now, gateway.seenAt)) }));
      return true;
    },
  };
}

const setting =
  (id: string, gateway: Record<string, AttributeValue>): Clause =>
  ({ key: attribute, value }) =>
    `SET ${attribute(prefix + id)} = ${value({ M: gateway })}`;
