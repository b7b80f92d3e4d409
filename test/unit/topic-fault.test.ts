import { describe, expect, it } from 'vitest';
import { cvm } from '../../protocol/cvm/dialect.ts';
import type { SessionView } from '../../protocol/dialect.ts';
import { fleetProvisioning } from '../../protocol/fleet-provisioning/dialect.ts';
import { topicFault } from '../../protocol/topic-fault.ts';

const session: SessionView = { serial: 'SN-1', encoding: 'json', ownershipToken: () => '' };
const dialects = [cvm, fleetProvisioning];

describe('a topic that is none of ours', () => {
  it.each<[string, RegExp]>([
    ['/cvm/request/SN-1', /begins with a slash/],
    [' cvm/request/SN-1', /a space/],
    ['$aws/certificates/create/json ', /a space/],
    ['"cvm/request/SN-1"', /quotes/],
    ['cvm/request', /serial .* is missing/],
    ['cvm/request/', /serial .* is missing/],
    ['cvm/ack/', /serial .* is missing/],
    ['cvm/request/line-4/SN-1', /a serial has no slash/],
    ['cvm/reply/SN-1', /publish to cvm\/request/],
    ['CVM/request/SN-1', /capital/],
    ['cvm/Request/SN-1', /capital/],
    ['cvm/requests/SN-1', /each character/],
    ['/certificates/create/json', /single quotes/],
    ['aws/certificates/create/json', /must begin with "\$aws"/],
    ['\\$aws/certificates/create/json', /must begin with "\$aws"/],
    ['/provisioning-templates/pump/provision/json', /single quotes/],
    ['$aws/certificates/create', /json or cbor/],
    ['$aws/certificates/create-from-csr/', /json or cbor/],
    ['$aws/provisioning-templates/pump/provision/', /json or cbor/],
    ['$aws/certificates/create/JSON', /capital/],
    ['$aws/certificates/create/json/accepted', /without its last level/],
    ['$aws/certificates/create-certificate-from-csr/json', /create-from-csr$/],
    ['$aws/things/SN-1/shadow/update', /AWS IoT Core/],
  ])('is refused with what is wrong with it, where a device publishes to it: %s', (topic, words) => {
    for (const dialect of dialects) expect(dialect.read(topic, Buffer.from('{}'), session)).toBeUndefined();
    expect(topicFault(topic, 'publish')).toMatch(words);
  });

  it.each<[string, RegExp]>([
    ['/cvm/reply/SN-1', /begins with a slash/],
    ['cvm/reply', /serial .* is missing/],
    ['cvm/reply/', /serial .* is missing/],
    ['cvm/request/SN-1', /cvm\/reply\/<serial>/],
    ['cvm/Reply/SN-1', /capital/],
    ['/certificates/create/json/accepted', /single quotes/],
    ['$aws/certificates/create/accepted', /json or cbor/],
    ['$aws/provisioning-templates/pump/provision/rejected', /json or cbor/],
  ])('is refused with what is wrong with it, where a device subscribes to it: %s', (filter, words) => {
    for (const dialect of dialects) expect(dialect.readFilter(filter, session)).toBeUndefined();
    expect(topicFault(filter, 'subscribe')).toMatch(words);
  });

  it.each(['elsewhere', 'devices/SN-1/events', ''])('of which nothing can be guessed gets no guess: %j', (topic) => {
    expect(topicFault(topic, 'publish')).toBeUndefined();
    expect(topicFault(topic, 'subscribe')).toBeUndefined();
  });
});
