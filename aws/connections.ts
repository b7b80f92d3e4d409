import type { Agent as HttpAgent } from 'node:http';
import type { ProxySettings } from '../runtime/settings.ts';

export type ProxyOptions = ProxySettings & { readonly tunnelMs?: number };

export type AwsConnections = ReturnType<typeof createAwsConnections>;

/**
 * The connections of several clients, which are kept after a call for the next one. Apart from the clients (`client.ts`), so that a process
 * that calls AWS now and then, or not at all, does not load the SDK.
 * @param options.onSilent is called when some were closed, since a call got no answer in time
 */
export function createAwsConnections({
  proxy,
  onSilent = () => {},
}: {
  readonly proxy?: ProxyOptions;
  readonly onSilent?: (closed: number) => void;
} = {}) {
  const pools: HttpAgent[] = [];
  return {
    /** what each client is to go through */
    proxy,
    /** Takes those of one client, which it closes. */
    add(own: readonly HttpAgent[]): void {
      pools.push(...own);
    },
    /**
     * Closes all on which no call waits. Where one fell silent (a firewall forgot it, say), the others did as well, and each would
     * cost a call its time limit.
     */
    dropIdle(): void {
      const idle = pools.flatMap(({ freeSockets }) => Object.values(freeSockets).flatMap((some) => some ?? []));
      for (const socket of idle) socket.destroy();
      if (idle.length > 0) onSilent(idle.length);
    },
  };
}

/** What a person does where AWS does not answer. */
export const silenceCure =
  "check the network of this machine, its proxy, and AWS's status page. Requests wait meanwhile";
