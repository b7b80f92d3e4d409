/**
 * The names of all keys and channels in Redis. A stored name stays when the code renames the thing: after an upgrade, what an older version
 * stored is still there. The forms of the values are in `stored-forms.ts`.
 */

/** Every key of ours begins so. The braces keep them all in one slot of a Redis Cluster, so on one node, as scripts and transactions need. */
export const keyPrefix = '{cvm}';

/** The one way in which a key or channel gets its name in Redis: `{cvm}:name`. */
export const ownKey = <Name extends string>(name: Name) => `${keyPrefix}:${name}` as const;

/** The BullMQ queue, and the names of its two kinds of jobs. */
export const [queueName, requestJob, acknowledgementJob] = ['asks', 'ask', 'ack'];

/** Where BullMQ has a job of this id, or one of its lists. */
export const jobKey = (name: string) => ownKey(`${queueName}:${name}`);

/** The form of all this, as JSON: its number, and the version that wrote it. */
export const formatKey = ownKey('format');

/** The public key with which workers sign for the table, for gateways that have pinned none yet. */
export const tableKeyKey = ownKey('table-key');

/** The gateways of the table, for a gateway that is new. */
export const gatewayListKey = ownKey('table-gateways');

/** When the clock of one of the site's machines was set forward last, in epoch milliseconds: the time after that. */
export const evenSinceKey = ownKey('even-since');

/** Brokers listen on it for replies. */
export const repliesChannel = ownKey('replies');
/** The reply to one request. */
export const replyKey = (requestId: string) => ownKey(`answer:${requestId}`);

/** The reply with this certificate, as version 0.1.0 kept it until the end of the replay window. It is read only. */
export const earlierReplyKey = (recipientId: string, certificateId: string) =>
  ownKey(`kept:${recipientId}:${certificateId}`);

/** hash: serial → id of the certificate that this gateway activated last */
export const seenCertificatesKey = ownKey('activated');

/** How many devices a second are let through to AWS, as a decimal number. */
export const paceKey = ownKey('pace');

/** hash: operation of AWS IoT Core → its bucket of tokens */
export const quotaBucketsKey = ownKey('quota');

/** hash: id of a process of this gateway that runs → when it said so last, and what it says of itself */
export const runningPartsKey = ownKey('parts');

export const lineKeys = {
  /** sorted set: id of a request that waits → its place */
  entries: ownKey('line'),
  /** list of what workers did in each second, the latest first */
  seconds: ownKey('line:seconds'),
  /**
   * and a recipientId: `waits` where a request of it was answered that had waited, `came` where the device has come back for that and went to the
   * front of the queue, `passed` where a worker took it before those that wait for AWS
   */
  served: ownKey('line:served:'),
};

export const rosterKeys = {
  /** hash: serial → entry */
  entries: ownKey('roster'),
  /** hash: gateway id → announcement */
  gateways: ownKey('roster:brokers'),
  /** another name than in 0.1.0, so that the roster is written anew, signed, at the upgrade */
  position: ownKey('roster:position:2'),
  leader: ownKey('roster:leader'),
  /** brokers listen on it for serials whose entry changed */
  channel: ownKey('roster:changed'),
  /** set of serials */
  requestedLookups: ownKey('roster:inquiries'),
};

/** What was seen of devices, for people: `sightings.ts`. */
export const sightingKeys = {
  /** sorted sets: serial → when it was seen last. With `:` and a serial: hash of what was seen of it; with `:` alone, of failed handshakes without a serial */
  own: ownKey('seen:own'),
  unproven: ownKey('seen:unproven'),
  unknown: ownKey('seen:unknown'),
  /** hash: id of a request → serial; and list of these ids, the oldest first */
  requests: ownKey('seen:requests'),
  requestOrder: ownKey('seen:requests:order'),
};

/** The console's list of devices: a sorted set for each state, and for each with the site; all scores are 0, so members are in the order of their serials. */
export const directoryKeys = {
  of: (state: string, withSite: boolean) => ownKey(`directory:${state}${withSite ? ':site' : ''}`),
  /** is there when every device of the roster has been entered */
  complete: ownKey('directory:complete'),
  /** which worker fills it, while one does */
  filling: ownKey('directory:filling'),
};

/** Those who watch hear on it what happens. */
export const liveChannel = ownKey('live');
/** hash: what was decided in one minute of the time since 1970, and how often */
export const liveMinuteKey = (minute: number) => ownKey(`live:minute:${minute}`);

/** A session of the console: its id is known to the browser only, and the key has the hash of it. */
export const consoleSessionKey = (hashedId: string) => ownKey(`console:session:${hashedId}`);
/** Counts attempts to sign in to the console. */
export const consoleAttemptsKey = ownKey('console:attempts');
/** Is there for a person, whom a reverse proxy signs in, and an address: by the hash of both. */
export const consoleSeenKey = (hashed: string) => ownKey(`console:seen:${hashed}`);
/** Is there for an address from which somebody has signed in to the console. */
export const consoleKnownAddressKey = (address: string) => ownKey(`console:known:${address}`);

/** Counters of token attempts: `serial`, `pause`, `judging`, `wrong`, `strikes`. Version 0.1.0 had `address` as well. */
export const tokenAttemptsKey = (counter: string) => ownKey(`guess:${counter}`);
/** What is known of a token that was attempted. */
export const attemptedTokenKey = (recipientId: string) => ownKey(`guess:seen:${recipientId}`);
