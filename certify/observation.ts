/** The certificate that a connection was shown: that of the gateway, one of another kind, or one that a device must not take. */
export type ShownCertificate = 'right' | 'rsa' | 'wrong-ca' | 'expired' | 'other-name';

/** `cvm`: that of docs/protocol.md */
export type DialectName = 'cvm' | 'fleet-provisioning';

export type RequestSeen = {
  readonly kind: 'request';
  readonly dialect: DialectName;
  readonly id?: string | undefined;
  /** digest of the public key of the CSR; `rsa` or `ec` where somebody else makes the key pair; undefined where it cannot be read */
  readonly key: string | undefined;
  readonly encoding: 'json' | 'cbor';
  readonly maxPacket?: number | undefined;
  /** the first part that it wants, of a reply in parts */
  readonly part: number;
  readonly wantsPending: boolean;
  readonly qos: number;
  readonly retain: boolean;
  readonly dup: boolean;
  /** why the gateway cannot read it */
  readonly fault?: string;
};

/** It says that it has stored its certificate. With Fleet Provisioning it asks to be registered, which says the same. */
export type AckSeen = {
  readonly kind: 'ack';
  /** undefined where it names none that can be read, or none that it was given */
  readonly certificateId: string | undefined;
  readonly qos: number;
  /** by which it asks to be registered */
  readonly template?: string;
  /** why the gateway cannot read it */
  readonly fault?: string;
};

export type ReplySeen = {
  readonly kind: 'reply';
  /** `accepted` in parts is noted when its last part was sent */
  readonly status: 'accepted' | 'registered' | 'pending' | 'rejected' | 'part' | 'other';
  readonly messageId: number | undefined;
  /** `gateway`: as it answered; `case`: made or changed by the case */
  readonly by: 'gateway' | 'case';
  readonly errorCode?: string;
  /** errorMessage */
  readonly reason?: string;
  /** both of Fleet Provisioning only */
  readonly certificateId?: string;
  readonly certificateOwnershipToken?: string;
};

/** What happened, in the order in which it happened. */
export type Happening =
  | { readonly kind: 'opened'; readonly shown: ShownCertificate }
  | {
      readonly kind: 'secured';
      readonly by: 'certificate' | 'claim certificate' | 'pre-shared key';
      readonly tls: string;
    }
  | { readonly kind: 'tls-failed'; readonly reason: string }
  | { readonly kind: 'connect'; readonly version: number; readonly clientId: string; readonly withToken: boolean }
  /** a token was presented, in CONNECT or in a request */
  | { readonly kind: 'token'; readonly right: boolean; readonly in: 'CONNECT' | 'the request' }
  | { readonly kind: 'subscribe'; readonly topics: readonly string[] }
  | RequestSeen
  | AckSeen
  /** it asked for the time */
  | { readonly kind: 'time-question'; readonly nonce: string }
  /** it was told the time */
  | { readonly kind: 'time-told'; readonly by: 'gateway' | 'case' }
  /** to a topic that is none of the device API's */
  | { readonly kind: 'publish'; readonly topic: string }
  | { readonly kind: 'puback-from-device'; readonly messageId: number }
  | { readonly kind: 'puback-to-device'; readonly messageId: number }
  | ReplySeen
  | { readonly kind: 'malformed'; readonly reason: string }
  | { readonly kind: 'closed'; readonly by: 'device' | 'gateway' | 'case' }
  | { readonly kind: 'program-started' }
  | { readonly kind: 'program-ended'; readonly status: number | undefined }
  | { readonly kind: 'program-killed' };

/** `at`: milliseconds since the case began. `connection`: from 1; 0 for what belongs to none. */
export type Seen = Happening & { readonly at: number; readonly connection: number };
export type SeenOf<Kind extends Happening['kind']> = Extract<Seen, { kind: Kind }>;

/** Happenings that are kept of one device: one that sends without end must not fill the memory. */
const mostKept = 5000;

/** What the relay saw of one device in one case. */
export class Observation {
  readonly seen: Seen[] = [];
  readonly #listeners = new Set<(seen: Seen) => void>();
  readonly #elapsed: () => number;
  #ended = false;

  /** @param elapsed milliseconds since the case began */
  constructor(elapsed: () => number) {
    this.#elapsed = elapsed;
  }

  note(connection: number, happening: Happening): void {
    if (this.#ended || this.seen.length >= mostKept) return;
    const seen = { ...happening, at: Math.round(this.#elapsed()), connection };
    this.seen.push(seen);
    for (const each of this.#listeners) each(seen);
  }

  /** What comes from now on is no part of the case. */
  end(): void {
    this.#ended = true;
  }

  /** @returns a function that ends it */
  listen(listener: (seen: Seen) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  all<Kind extends Happening['kind']>(kind: Kind): SeenOf<Kind>[] {
    return this.seen.filter((each): each is SeenOf<Kind> => each.kind === kind);
  }

  has(kind: Happening['kind']): boolean {
    return this.seen.some((each) => each.kind === kind);
  }

  /** Milliseconds since the case began. */
  get now(): number {
    return this.#elapsed();
  }

  get requests(): SeenOf<'request'>[] {
    return this.all('request');
  }

  get acks(): SeenOf<'ack'>[] {
    return this.all('ack');
  }

  /** When the device had come through, in milliseconds since the case began: it has acknowledged its certificate, or was told that it is registered. */
  get endings(): number[] {
    const acknowledged = this.acks.filter(({ template }) => template === undefined);
    return [...acknowledged, ...this.replies('registered')].map(({ at }) => at);
  }

  replies(status: ReplySeen['status']): SeenOf<'reply'>[] {
    return this.all('reply').filter((each) => each.status === status);
  }

  after(at: number): Seen[] {
    return this.seen.filter((each) => each.at > at);
  }
}

/** One line of what the device did, for a person; undefined for what says nothing. */
export function wordsOf(seen: Seen): string | undefined {
  switch (seen.kind) {
    case 'opened':
      return seen.shown === 'right' ? undefined : `connected, and was shown ${shownWords[seen.shown]}`;
    case 'secured':
      return `connected (${seen.tls}, ${seen.by})`;
    case 'tls-failed':
      return `refused the handshake (${seen.reason})`;
    case 'request':
      return seen.part > 0 ? `asked for part ${seen.part}` : `asked${seen.fault === undefined ? '' : ', unreadably'}`;
    case 'ack':
      return seen.template === undefined ? 'acknowledged' : `asked to be registered by ${seen.template}`;
    case 'time-question':
      return 'asked for the time';
    case 'time-told':
      return `got ${seen.by === 'case' ? 'a time that is false' : 'the time'}`;
    case 'publish':
      return `published to ${seen.topic}`;
    case 'reply':
      return replyWords(seen);
    case 'malformed':
      return `sent what is not MQTT (${seen.reason})`;
    case 'closed':
      return closedWords[seen.by];
    case 'program-ended':
      return `its program ended (${seen.status ?? 'by a signal'})`;
    case 'program-killed':
      return 'power cut';
    default:
      return undefined;
  }
}

const shownWords: Record<Exclude<ShownCertificate, 'right'>, string> = {
  rsa: 'a certificate with an RSA key',
  'wrong-ca': 'a certificate of another CA',
  expired: 'an expired certificate',
  'other-name': 'a certificate for another name',
};

const closedWords = { device: 'left', gateway: 'was closed by the gateway', case: 'was cut off' };

function replyWords({ status, errorCode, by }: ReplySeen): string | undefined {
  if (status === 'part') return undefined;
  const what = status === 'rejected' ? `rejected ${errorCode ?? ''}`.trim() : status;
  return `got ${what}${by === 'case' ? ' (from the case)' : ''}`;
}

/** The most of a story that a row of the sheet shows. */
const mostWords = 16;

/** What the device did, in one line: each with its second. */
export function storyOf(seen: readonly Seen[]): string {
  const told = seen.flatMap((each) => {
    const words = wordsOf(each);
    return words === undefined ? [] : [`${(each.at / 1000).toFixed(1)} s ${words}`];
  });
  const shown = told.length <= mostWords ? told : [...told.slice(0, mostWords - 2), '…', ...told.slice(-1)];
  return shown.length === 0 ? 'nothing' : shown.join(' · ');
}
