import type { CloseFault } from '../telemetry/sightings.ts';

/** The usual reasons for which the broker closes a connection: `cvm explain` knows these. */
export const closingReasons = {
  silent: 'nothing came from it for one and a half times its keep-alive [MQTT-3.1.2-24]',
  noConnect: 'no CONNECT came in time [MQTT-3.1.4]',
  readsNothing: 'it did not read what it was sent',
  will: 'it has a will: nothing is published for it',
  notStored: 'its request could not be stored',
} as const;

const faultOfReason: ReadonlyMap<string, CloseFault> = new Map([
  [closingReasons.silent, 'keep-alive'],
  [closingReasons.noConnect, 'no-connect'],
  [closingReasons.readsNothing, 'reads-nothing'],
]);

/** @returns undefined for a reason that says nothing about the device, such as that the gateway stops */
export function closeFaultOf(reason: string): CloseFault | undefined {
  if (reason.endsWith(closingReasons.will)) return 'will';
  if (reason.startsWith(closingReasons.notStored)) return 'not-stored';
  return faultOfReason.get(reason) ?? (/\[MQTT|\[MQTT 5/.test(reason) ? 'not-mqtt' : undefined);
}
