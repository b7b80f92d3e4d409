import { codes } from './reason-codes.ts';

type Asked = { readonly filters: readonly string[]; readonly codes: readonly (number | undefined)[] };

/** Subscriptions that are remembered, to tell UNSUBACK 0x00 from 0x11. A device has few reply topics. */
const maxRemembered = 64;

/**
 * The reason codes of SUBACK and UNSUBACK [MQTT 5, 3.9.3, 3.11.3]. MQTT 3.1.1 has 128 for every refusal, no codes in UNSUBACK at all, and the
 * broker gives one answer to a filter that comes twice in a packet.
 */
export class FilterCodes {
  /** by message id; as many as the broker has not answered yet */
  readonly #asked = new Map<number, Asked>();
  readonly #subscribed = new Set<string>();

  asked(messageId: number, filters: readonly string[]): void {
    this.#asked.set(messageId, { filters, codes: filters.map(refusalOf) });
  }

  /** @param granted of MQTT 3.1.1, one for each different filter */
  subscribed(messageId: number, granted: readonly number[]): number[] {
    const { filters, codes: refusals } = this.#take(messageId);
    const different = [...new Set(filters)];
    return filters.map((filter, index) => {
      const code = granted[different.indexOf(filter)] ?? refused;
      if (code >= refused) return refusals[index] ?? codes.notAuthorized;
      if (this.#subscribed.size < maxRemembered) this.#subscribed.add(filter);
      // nothing is sent with QoS 2
      return Math.min(code, 1);
    });
  }

  unsubscribed(messageId: number): number[] {
    const { filters } = this.#take(messageId);
    return filters.map((filter) => (this.#subscribed.delete(filter) ? codes.success : codes.noSubscriptionExisted));
  }

  #take(messageId: number): Asked {
    const asked = this.#asked.get(messageId);
    this.#asked.delete(messageId);
    return asked ?? { filters: [], codes: [] };
  }
}

/** SUBACK of MQTT 3.1.1 [3.9.3]. */
const refused = 0x80;

/** What a refusal of this filter is, where it is not a matter of rights. */
function refusalOf(filter: string): number | undefined {
  if (filter.startsWith('$share/')) return codes.sharedSubscriptionsNotSupported;
  return /[+#]/.test(filter) ? codes.wildcardSubscriptionsNotSupported : undefined;
}
