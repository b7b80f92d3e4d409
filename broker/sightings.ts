import { isSerial } from '../protocol/serial.ts';
import type { SightingFields, SightingName, Sightings } from '../telemetry/sightings.ts';
import type { Roster } from './roster.ts';

/** Of whom something was seen. `proven`: the connection has proved the device's token. */
export type Seeing = {
  readonly serial?: string | undefined;
  readonly remoteAddress: string;
  readonly proven?: boolean;
};

/** What a sighting of the broker has besides the address. */
type Fields<Name extends SightingName> = Omit<SightingFields[Name], 'from'>;

export type BrokerSightings = ReturnType<typeof createBrokerSightings>;

/** Notes what this broker sees of devices, for `cvm explain`. Costs microseconds, never fails, and waits for nothing. */
export function createBrokerSightings(sightings: Sightings, { knows }: Pick<Roster, 'knows'>) {
  return {
    /** Of a device that named a serial; of one that named none, nothing but its failed handshake. @param latest what changes from one time to the next @param agoMs when it was */
    note<Name extends SightingName>(
      { serial, remoteAddress, proven = false }: Seeing,
      name: Name,
      fields: Fields<Name>,
      latest?: string,
      agoMs?: number,
    ): void {
      if (serial === undefined ? name !== 'handshake-failed' : !isSerial(serial)) return;
      const kind = proven ? 'own' : serial !== undefined && knows(serial) ? 'unproven' : 'unknown';
      sightings.note(
        kind,
        serial,
        name,
        { from: remoteAddress, ...fields } as unknown as SightingFields[Name],
        latest,
        agoMs,
      );
    },
  };
}
