import type { CameAlive } from '../came-alive.ts';
import { all } from '../rows.ts';
import { type DeviceRows, where } from './device-rows.ts';

export function createCameAlive(devices: DeviceRows): CameAlive {
  return {
    noteLook: async ({ serial, certificateId }, { lookedAt, seenAt }) =>
      certificateId !== undefined &&
      devices.update(
        serial,
        { set: { lookedAt, ...(seenAt === undefined ? {} : { seenAt }) } },
        all(where.is({ certificateId, state: 'registered' }), where.isMissing('removedAt')),
      ),
  };
}
