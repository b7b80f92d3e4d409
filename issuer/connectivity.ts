/**
 * What the issuer knows of the connections of a thing. `never`: it has not seen one. `at`: when the thing connected, or when its last
 * connection ended; epoch milliseconds.
 */
export type ThingConnectivity = 'never' | { readonly connected: boolean; readonly at: number };

/** It cannot be asked until a person changes something, for any thing. `cure` says what. Nothing else of the gateway needs it. */
export class ConnectivityUnavailable extends Error {
  readonly cure: string;
  constructor(message: string, cure: string, options: ErrorOptions = {}) {
    super(message, options);
    this.name = 'ConnectivityUnavailable';
    this.cure = cure;
  }
}

/**
 * Tells whether a device ever connected with the certificate that it was given. Promises of every adapter:
 *
 * - It only reads. A thing that does not exist has never connected.
 * - It may lag behind by some seconds.
 * - Throttling and outages throw as those of the `Issuer`; what only a person can change throws `ConnectivityUnavailable`.
 */
export interface Connectivity {
  of(thingName: string): Promise<ThingConnectivity>;
}
