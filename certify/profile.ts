import type { DialectName, Observation } from './observation.ts';

/** How the device speaks, as far as its first case has shown. */
export type Profile = {
  readonly dialect: DialectName;
  readonly tls: string;
  /** how it proves its token */
  readonly token: 'CONNECT' | 'the request' | 'pre-shared key' | 'claim certificate' | 'not at all';
  /** 3 (3.1), 4 (3.1.1) or 5 */
  readonly mqtt: number;
  readonly encoding: 'json' | 'cbor';
  readonly key: 'CSR' | 'rsa' | 'ec';
  readonly maxPacket?: number;
  /** its reply came in parts */
  readonly inParts: boolean;
  readonly wantsPending: boolean;
  readonly sendsId: boolean;
  readonly subscribes: boolean;
  readonly acknowledges: boolean;
  /** it asks for the time before it sends its token */
  readonly asksTime: boolean;
};

/** @returns undefined where the device did not ask */
export function profileOf(observation: Observation): Profile | undefined {
  const [request] = observation.requests;
  const [secured] = observation.all('secured');
  if (request === undefined || secured === undefined) return undefined;
  const [token] = observation.all('token');
  const { dialect, key, encoding, maxPacket, wantsPending, id } = request;
  return {
    dialect,
    tls: secured.tls,
    token: secured.by === 'certificate' ? (token?.in ?? 'not at all') : secured.by,
    mqtt: observation.all('connect')[0]?.version ?? 4,
    encoding,
    key: key === 'rsa' || key === 'ec' ? key : 'CSR',
    ...(maxPacket === undefined ? {} : { maxPacket }),
    inParts: observation.replies('part').length > 0,
    wantsPending,
    sendsId: id !== undefined,
    subscribes: observation.has('subscribe'),
    acknowledges: observation.acks.length > 0,
    asksTime: observation.has('time-question'),
  };
}

const mqttNames: Readonly<Record<number, string>> = { 3: '3.1', 4: '3.1.1', 5: '5' };

const tokenText = (token: Profile['token']): string =>
  token === 'not at all' ? 'no token' : token === 'claim certificate' ? 'a claim certificate' : `token by ${token}`;

/** One line for a person. */
export function profileText(profile: Profile): string {
  const { dialect, tls, token, mqtt, encoding, key, maxPacket, inParts, asksTime } = profile;
  return [
    ...(dialect === 'cvm' ? [] : ['Fleet Provisioning']),
    tls.replace('TLSv', 'TLS '),
    `MQTT ${mqttNames[mqtt] ?? mqtt}`,
    encoding.toUpperCase(),
    tokenText(token),
    key === 'CSR' ? 'own key (CSR)' : `key made for it (${key})`,
    ...(maxPacket === undefined ? [] : [`packets of ${maxPacket} bytes at most`]),
    ...(inParts ? ['reply in parts'] : []),
    ...(asksTime ? ['asks for the time'] : []),
  ].join(', ');
}
