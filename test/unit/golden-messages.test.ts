import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cvm } from '../../protocol/cvm/dialect.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import type { Dialect } from '../../protocol/dialect.ts';
import { fleetProvisioning } from '../../protocol/fleet-provisioning/dialect.ts';
import { statusCodes } from '../../protocol/problems.ts';
import { readOwnershipToken } from '../../sealing/ownership.ts';
import { deriveReplyKeys } from '../../sealing/replies.ts';
import { createFromCsr } from '../support/fleet-device.ts';
import { goldenFile, parsed, readGoldenPublish } from '../support/golden.ts';
import { credentialsOf, csr, serial, time, token } from '../support/golden-credentials.ts';
import { cvmGroups, fleetGroups, type GoldenGroup } from '../support/golden-messages.ts';
import { groupOnPage } from '../support/golden-page.ts';

const groups = [...cvmGroups, ...fleetGroups];
const messages = groups.flatMap((group) => group.messages);
const names = messages.map(({ name }) => name);
const session = { serial, encoding: 'json', ownershipToken: () => '' } as const;
const read = (dialect: Dialect<never>, name: string) => {
  const { topic, payload } = readGoldenPublish(name);
  return dialect.read(topic, payload, session);
};
const fieldsOf = (name: string): Record<string, unknown> => {
  const value = parsed(readGoldenPublish(name).payload);
  return objectOf(value) as Record<string, unknown>;
};
const objectOf = (value: unknown): unknown =>
  value instanceof Map ? Object.fromEntries([...value].map(([key, each]) => [key, objectOf(each)])) : value;

describe('a golden message', () => {
  it.each(messages.map((message) => [message.name, message] as const))(
    'is what the gateway writes, byte for byte: %s',
    (_name, message) => {
      const { stored, now } = goldenFile(message);
      expect(now, 'meant to change? npm run golden, then look at the difference').toBe(stored);
    },
  );

  it('has a file of its own for every flow, form, code and encoding', () => {
    expect(new Set(names).size).toBe(names.length);
    for (const encoding of ['json', 'cbor']) {
      for (const flow of ['rsa', 'ec', 'csr'])
        for (const form of ['', '-der', '-der-no-root-ca', ...(encoding === 'cbor' ? ['-compact'] : [])])
          expect(names).toEqual(
            expect.arrayContaining([
              `cvm/request-${flow}${form}.${encoding}`,
              `cvm/accepted-${flow}${form}.${encoding}`,
            ]),
          );
      const codes = Object.keys(statusCodes);
      const rejected = (dialect: string, some: string[]) =>
        some.map((code) => `${dialect}/rejected-${code}.${encoding}`);
      // of Fleet Provisioning only
      const ours = codes.filter((code) => code !== 'InvalidCertificateOwnershipToken');
      expect(names).toEqual(
        expect.arrayContaining([...rejected('cvm', ours), ...rejected('fleet-provisioning', codes)]),
      );
    }
  });
});

describe('a stored request is read as it was meant', () => {
  const shared = { serial };
  const content = { token, csr: undefined, key: 'rsa' };
  const der = csr.replace(/-----[^-]+-----|\s/g, '');

  it.each(['json', 'cbor'] as const)('of our own dialect, %s', (encoding) => {
    const request = (name: string) => read(cvm as Dialect<never>, `cvm/request-${name}.${encoding}`);
    for (const form of ['', '-der', '-der-no-root-ca', ...(encoding === 'cbor' ? ['-compact'] : [])]) {
      const wanted = (fields: object) => ({ kind: 'request', encoding, ...shared, request: { ...content, ...fields } });
      expect(request(`rsa${form}`)).toMatchObject(wanted({}));
      expect(request(`ec${form}`)).toMatchObject(wanted({ key: 'ec' }));
      expect(request(`csr${form}`)).toMatchObject(wanted({ csr: form === '' ? csr : der }));
      expect(request(`csr${form}`)).toMatchObject({
        form: { fields: { id: '7', rootCa: !/no-root-ca|compact/.test(form), format: formatOf(form) } },
      });
    }
    expect(request('token-in-connect')).toMatchObject({ kind: 'request', request: { token: undefined, key: 'rsa' } });
    expect(request('no-pending')).toMatchObject({ form: { fields: { pending: false } } });
    expect(request('max-packet')).toMatchObject({ maxPacket: 1024, form: { fields: { part: 0 } } });
    expect(request('template')).toMatchObject({
      request: { template: { templateName: 'pump', parameters: { SerialNumber: serial, Place: 'north' } } },
    });
    expect(request('part')).toMatchObject({ maxPacket: 1024, form: { fields: { part: 2 } } });
    const { certificateId } = credentialsOf('ec');
    expect(read(cvm as Dialect<never>, `cvm/ack.${encoding}`)).toMatchObject({
      kind: 'acknowledgement',
      certificateId,
    });
  });

  it.each(['json', 'cbor'] as const)('of Fleet Provisioning, %s', (encoding) => {
    const request = (name: string) =>
      read(fleetProvisioning as Dialect<never>, `fleet-provisioning/${name}.${encoding}`);
    for (const create of ['create', 'create-object'])
      expect(request(create)).toMatchObject({ kind: 'request', encoding, request: { key: 'rsa' } });
    expect(request('create-from-csr')).toMatchObject({ kind: 'request', encoding, request: { csr } });
    const { ownershipToken } = (request('provision') as { registration: { ownershipToken: string } }).registration;
    expect(request('provision')).toMatchObject({
      kind: 'registration',
      registration: { templateName: 'pump', parameters: { SerialNumber: serial } },
    });
    // the one that came with the certificate, an hour before its end
    expect(ownershipToken).toBe(
      fieldsOf(`fleet-provisioning/create-from-csr-accepted.${encoding}`).certificateOwnershipToken,
    );
    expect(readOwnershipToken(deriveReplyKeys(serial, token), ownershipToken)).toEqual({
      certificateId: credentialsOf('csr').certificateId,
      endsAt: time * 1000 + 3_600_000,
    });
  });
});

const formatOf = (form: string) => (form === '' ? 'pem' : form === '-compact' ? 'compact' : 'der');

describe('a stored answer', () => {
  it('has the same fields in JSON and CBOR, where it has no bytes', () => {
    const same = names.filter((name) => /\/(accepted-[a-z]+|pending.*|rejected.*|.*accepted.*|ack)\.json$/.test(name));
    expect(same.length).toBeGreaterThan(30);
    for (const name of same.filter((each) => !each.includes('-der')))
      expect(fieldsOf(name.replace('.json', '.cbor')), name).toEqual(fieldsOf(name));
  });

  it('goes to the topic of its request', () => {
    expect(readGoldenPublish('cvm/request-rsa.json').topic).toBe(requestTopic(serial));
    expect(readGoldenPublish('cvm/accepted-rsa.json').topic).toBe(`cvm/reply/${serial}`);
    expect(readGoldenPublish('fleet-provisioning/create-from-csr-accepted.cbor').topic).toBe(
      `${createFromCsr('cbor')}/accepted`,
    );
  });
});

describe('a page shows what the files hold', () => {
  it('docs/protocol.md: the accepted reply that it has whole', () => {
    expect(readFileSync('docs/protocol.md', 'utf8')).toContain(
      `\n${readGoldenPublish('cvm/accepted-ec.json').payload.toString()}\n`,
    );
  });

  const shows = (page: string, of: readonly GoldenGroup[]) => of.map((group) => [page, group.name, group] as const);
  it.each([...shows('docs/protocol.md', cvmGroups), ...shows('docs/fleet-provisioning.md', fleetGroups)])(
    '%s: %s',
    (page, _name, group) => {
      const { shown, now } = groupOnPage(page, group);
      expect(shown, 'npm run golden writes it').toBe(now);
    },
  );
});
