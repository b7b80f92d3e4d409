import { type Connectivity, ConnectivityUnavailable, type ThingConnectivity } from '../../issuer/connectivity.ts';
import { UpstreamThrottled } from '../../runtime/upstream.ts';

/** Connections that a test makes and ends. */
export function createMemoryConnectivity(now: () => number = Date.now) {
  const things = new Map<string, Exclude<ThingConnectivity, 'never'>>();
  let fault: 'throttle' | 'no-index' | 'denied' | undefined;
  const asked: string[] = [];
  const connectivity: Connectivity = {
    async of(thingName) {
      asked.push(thingName);
      const strikes = fault;
      fault = undefined;
      if (strikes === 'throttle') throw new UpstreamThrottled('iot:GetThingConnectivityData');
      if (strikes !== undefined) throw new ConnectivityUnavailable(strikes, 'mend it');
      return things.get(thingName) ?? 'never';
    },
  };
  return {
    connectivity,
    asked,
    setFault: (kind: typeof fault): void => {
      fault = kind;
    },
    connect: (thingName: string): void => void things.set(thingName, { connected: true, at: now() }),
    disconnect: (thingName: string): void => void things.set(thingName, { connected: false, at: now() }),
  };
}
