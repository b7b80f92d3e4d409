import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';

/** Limits how fast one device may send requests and acknowledgements to this broker, on all its connections together. */
export type DeviceRateLimit = {
  /** Counts one message of a device. @returns undefined when this message is allowed; otherwise the seconds until the next one is */
  take(serial: string): Promise<number | undefined>;
};

/** @param messages that each device may send at once, and in `seconds` */
export function createDeviceRateLimit({ messages, seconds }: { messages: number; seconds: number }): DeviceRateLimit {
  const limiter = new RateLimiterMemory({ points: messages, duration: seconds });
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
