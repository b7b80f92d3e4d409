/**
 * Whether a gateway serves a device. A device without a site is served by every gateway, and one with a site by the gateways of
 * that site only. Both are undefined where there is no name.
 */
export function serves(gatewaySite: string | undefined, deviceSite: string | undefined): boolean {
  return deviceSite === undefined || deviceSite === gatewaySite;
}
