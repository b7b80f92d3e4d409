import type { Sighting, Sightings } from '../telemetry/sightings.ts';

/** Limits of what is kept. */
export type SightingLimits = {
  /** milliseconds since it was seen last */
  readonly keptMs: number;
  /** different sightings of one serial, by kind */
  readonly perSerial: Readonly<Record<'own' | 'unproven' | 'unknown', number>>;
  /** serials, by kind; the one that was seen longest ago goes first */
  readonly serials: Readonly<Record<'own' | 'unproven' | 'unknown', number>>;
  /** requests whose serial can be found by their id */
  readonly requests: number;
};

/** Some 60 MB of Redis where all bounds are reached; a device that was provisioned without trouble takes 1 KB. */
export const usualSightingLimits: SightingLimits = {
  keptMs: 7 * 86_400_000,
  perSerial: { own: 48, unproven: 16, unknown: 8 },
  serials: { own: 10_000, unproven: 2000, unknown: 1000 },
  requests: 20_000,
};

/** A broker's or a worker's side. What it is told is written a moment later, many at a time, and lost where Redis takes no writes for long. */
export type SightingWriter = Sightings & {
  /** Writes what it was told so far. Never rejects. */
  flush(): Promise<void>;
  close(): Promise<void>;
};

/** The operator's side. */
export interface SightingReader {
  /** What was seen of a serial, and the failed handshakes that named none, in no order. @throws while Redis is away */
  read(serial: string): Promise<readonly Sighting[]>;
  readNameless(): Promise<readonly Sighting[]>;
  /** The serial of a request that a device with its token made in the last days. */
  serialOf(requestId: string): Promise<string | undefined>;
  close(): Promise<void>;
}
