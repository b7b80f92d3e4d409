/**
 * The certificate that this gateway activated last for each device. The table knows it, too, unless it was restored from a backup
 * since. It is lost with the gateway's Redis: what another gateway vended, or this one before, is then left to the sweep.
 */
export interface SeenCertificates {
  /** The certificate id that was noted last. */
  last(serial: string): Promise<string | undefined>;
  note(serial: string, certificateId: string): Promise<void>;
  close(): Promise<void>;
}
