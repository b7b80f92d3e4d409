import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';

/** How fast one device may ask and acknowledge at this broker, whatever the number of its connections. */
export type DeviceRateLimit = {
  /** @returns for how many seconds there is nothing to take; undefined when it was taken */
  take(serial: string): Promise<number | undefined>;
};

export function createDeviceRateLimit({
  messagesPerDevice,
  messagesPerDeviceSeconds,
}: {
  messagesPerDevice: number;
  messagesPerDeviceSeconds: number;
}): DeviceRateLimit {
  const limiter = new RateLimiterMemory({ points: messagesPerDevice, duration: messagesPerDeviceSeconds });
  return {
    async take(serial) {
      try {
        await limiter.consume(serial);
        return undefined;
      } catch (refusal) {
        if (!(refusal instanceof RateLimiterRes)) throw refusal;
        return Math.ceil(refusal.msBeforeNext / 1000);
      }
    },
  };
}
