import type { Client } from 'aedes';

/*
 * aedes keeps what it must know of clients in a persistence, and brings messages from one client to others through an emitter. Here
 * sessions end with their connection (`connect.ts`), nothing is retained, wills are refused, and no message goes from one
 * device to another: what is sent to a device is sent to its connection (`forward.ts`). So both hold nothing, which is cheaper
 * for each connection, and keeps what a device published from everybody else once more.
 */

/** The emitter that aedes publishes to. It has no listeners. */
export const noEmitter = {
  on: (_topic: string, _listener: unknown, done?: () => void): void => done?.(),
  removeListener: (_topic: string, _listener: unknown, done?: () => void): void => done?.(),
  emit: (_packet: unknown, done: () => void): void => done(),
  close: (done: () => void): void => done(),
};

type WithMessageId = { readonly messageId?: number };

/**
 * The persistence of aedes: messages of QoS 2 between PUBLISH and PUBREL [MQTT-4.3.3-2], and nothing else.
 * @param onAcknowledged called with the message id of each PUBACK
 */
export function createPersistence(onAcknowledged: (client: Client, messageId: number) => void) {
  /** their ids; how many there may be for one client is limited (`maxInflightInbound`) */
  const incoming = new WeakMap<Client, Set<number | undefined>>();
  const nothing = async (): Promise<void> => {};
  const none = async (): Promise<readonly never[]> => [];

  return {
    // aedes looks whether it is an async function
    async setup(): Promise<void> {},
    subscriptionsByClient: none,
    subscriptionsByTopic: none,
    addSubscriptions: nothing,
    removeSubscriptions: nothing,
    cleanSubscriptions: nothing,
    outgoingEnqueue: nothing,
    outgoingEnqueueCombi: nothing,
    outgoingUpdate: nothing,
    async outgoingClearMessageId(client: Client, { messageId }: WithMessageId): Promise<void> {
      if (messageId !== undefined) onAcknowledged(client, messageId);
    },
    outgoingStream: (): readonly never[] => [],
    createRetainedStreamCombi: () => ({ pipe() {} }),
    storeRetained: nothing,
    putWill: nothing,
    delWill: nothing,
    streamWill: (): readonly never[] => [],
    async incomingStorePacket(client: Client, { messageId }: WithMessageId): Promise<void> {
      incoming.set(client, (incoming.get(client) ?? new Set()).add(messageId));
    },
    /** @throws for a message that is new */
    async incomingGetPacket(client: Client, { messageId }: WithMessageId): Promise<WithMessageId> {
      if (incoming.get(client)?.has(messageId) !== true) throw new Error('no such packet');
      return { messageId } as WithMessageId;
    },
    async incomingDelPacket(client: Client, { messageId }: WithMessageId): Promise<void> {
      incoming.get(client)?.delete(messageId);
    },
    cleanIncoming: nothing,
  };
}
