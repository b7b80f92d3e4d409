import type { Random } from '../chaos/random.ts';
import { packet, text } from '../support/raw-mqtt.ts';

const bytes = (...values: number[]) => Buffer.from(values);
const topics = [
  'cvm/request/FUZZ-1',
  'cvm/reply/FUZZ-1',
  'cvm/reply/FUZZ-1/x',
  'cvm/ack/FUZZ-1',
  '$share/g/x',
  'a/+/#',
  '$aws/certificates/create/json',
  '$aws/certificates/create-from-csr/cbor/accepted',
  '$aws/provisioning-templates/pump/provision/json',
  '$aws/provisioning-templates/+/provision/+/#',
  '',
];

/**
 * Conversations of MQTT 5 with properties of every kind, most of them where they belong, and many more than once.
 * @param payloads for what it publishes
 */
export function mqtt5Stream(random: Random, payloads: readonly Buffer[] = [Buffer.from('{"token":"x"}')]): Buffer {
  const below = (most: number) => Math.floor(random.next() * most);
  const choose = <T>(from: readonly T[]): T => from[below(from.length)] as T;
  const some = () => Buffer.from(Array.from({ length: below(12) }, () => below(256)));
  const id = () => bytes(0, below(4));

  const values: readonly (() => Buffer)[] = [
    () => bytes(choose([0x01, 0x17, 0x19, 0x24, 0x25, 0x28]), below(3)),
    () => bytes(choose([0x02, 0x11, 0x18, 0x27]), 0, 0, below(256), below(256)),
    () => Buffer.concat([bytes(choose([0x03, 0x08, 0x12, 0x15, 0x1a, 0x1c, 0x1f])), text(choose(topics))]),
    () => Buffer.concat([bytes(choose([0x09, 0x16])), text(some().toString('latin1'))]),
    () => bytes(choose([0x13, 0x21, 0x22, 0x23]), 0, below(3)),
    () => bytes(0x0b, ...choose([[0], [1], [0x80, 0], [0xff, 0xff, 0xff, 0x7f], [0xff, 0xff, 0xff, 0xff]])),
    () => Buffer.concat([bytes(0x26), text('k'), text(some().toString('latin1'))]),
    () => bytes(below(256), below(256)),
  ];
  const properties = (): Buffer => {
    if (random.next() < 0.4) return bytes(0);
    const all = Buffer.concat(Array.from({ length: below(5) }, () => choose(values)()));
    return Buffer.concat([bytes(Math.max(0, all.length + (random.next() < 0.1 ? below(5) - 2 : 0)) & 127), all]);
  };
  const connect = packet(
    0x10,
    ...[text('MQTT'), bytes(5, choose([2, 0, 0xc2, 0x42, 0x06]), 0, 60), random.next() < 0.7 ? bytes(0) : properties()],
    ...[text(choose(['fuzz', ''])), text('FUZZ-1'), text('correct-horse-battery-staple')].slice(0, choose([1, 3])),
  );
  const packets: readonly (() => Buffer)[] = [
    () => packet(choose([0x30, 0x32, 0x34, 0x33]), text(choose(topics)), id(), properties(), choose(payloads)),
    () => packet(0x82, id(), properties(), text(choose(topics)), bytes(below(64))),
    () => packet(0xa2, id(), properties(), text(choose(topics))),
    () => packet(choose([0x40, 0x50, 0x62, 0x70]), id(), bytes(choose([0, 0x10, 0x80, 0x92, 0xff])), properties()),
    () => packet(choose([0xc0, 0xf0, 0x20, 0xd0]), some()),
    () => packet(0xe0, bytes(below(256)), properties()),
  ];
  return Buffer.concat([connect, ...Array.from({ length: below(6) }, () => choose(packets)())]);
}
