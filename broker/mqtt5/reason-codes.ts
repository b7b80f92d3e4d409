/**
 * Reason codes of MQTT 5 that this gateway sends. docs/protocol.md has the cure of each.
 * @see https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html section 2.4
 */
export const codes = {
  success: 0x00,
  noSubscriptionExisted: 0x11,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecificError: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  topicNameInvalid: 0x90,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  quotaExceeded: 0x97,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
  sharedSubscriptionsNotSupported: 0x9e,
  subscriptionIdsNotSupported: 0xa1,
  wildcardSubscriptionsNotSupported: 0xa2,
} as const;

/** The reason code of each return code of CONNACK in MQTT 3.1.1 (section 3.2.2.3). */
const ofReturnCode: Readonly<Record<number, number>> = {
  1: codes.unsupportedProtocolVersion,
  2: codes.clientIdNotValid,
  3: codes.serverUnavailable,
  4: codes.badUserNameOrPassword,
  5: codes.notAuthorized,
};

export const reasonOfReturnCode = (returnCode: number): number => ofReturnCode[returnCode] ?? codes.unspecifiedError;

/** Reason codes of DISCONNECT that CONNACK has not [MQTT 5, 2.4], and what stands for them there. */
export const connackCodeFor = (code: number): number =>
  code === codes.serverShuttingDown ? codes.serverUnavailable : code;

/** Of PUBACK, PUBREC, PUBREL and PUBCOMP [MQTT 5, 3.4.2.1 to 3.7.2.1]. */
export const acknowledgementCodes: ReadonlySet<number> = new Set([
  0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99,
]);
export const releaseCodes: ReadonlySet<number> = new Set([0x00, 0x92]);

/** An error that ends a connection, and says to a client of MQTT 5 why. `reason` has nothing in it that the device sent. */
export function closingError(reasonCode: number, reason: string): Error {
  return Object.assign(new Error(reason), { reasonCode });
}

/** @returns undefined for an error that no client is to be told about: it comes from the network, say */
export function reasonCodeOf(error: object): number | undefined {
  return (error as { reasonCode?: number }).reasonCode;
}
