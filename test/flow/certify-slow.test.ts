import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Observation } from '../../certify/observation.ts';
import { startRelay } from '../../certify/relay.ts';
import { readMaterial, servedFiles } from '../../site-tls/material.ts';
import { connectFleetDevice, create, fleetTemplate, provision, templateFolder } from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('a device that is certified at a gateway that is slow', () => {
  let gateway: Gateway;
  const templates = templateFolder({ pump: fleetTemplate() });
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_TEMPLATES_DIR: templates.folder } });
  });
  afterAll(async () => {
    await gateway?.close();
    templates.remove();
  });

  /** The relay of a case that does nothing. */
  async function relayFor(device: { serial: string; token: string }, observation: Observation) {
    const { key, cert, caPem: ca = '' } = readMaterial(servedFiles({ ...gateway.settings }));
    const right = { key, cert };
    const certificates = { right, rsa: right, 'wrong-ca': right, expired: right, 'other-name': right };
    const behind = { gateway: { port: gateway.broker.port, ca }, certificates, device };
    return startRelay({ ...behind, port: 0, listen: '127.0.0.1', script: {}, observation });
  }

  it('does not hear of its line in Fleet Provisioning, and hears the answer', async () => {
    const device = await gateway.enrolOnRoster('slow');
    const observation = new Observation(() => performance.now());
    const relay = await relayFor(device, observation);
    const as = { username: device.serial, password: device.token };
    const connected = await connectFleetDevice({ port: relay.port, caPem: gateway.broker.caPem }, as);
    gateway.aws.faults.set([{ operation: 'CreateKeysAndCertificate', kind: 'throttle' }]);
    const answer = connected.ask(create('json'));
    answer.catch(() => {});
    const told = () => gateway.broker.metric('cvm_broker_replies_total', { status: 'pending' });
    await expect.poll(told).toBeGreaterThan(0);
    gateway.aws.faults.set([]);
    const { body } = await answer;
    expect(body).toMatchObject({ certificateId: expect.any(String) });
    const { certificateOwnershipToken } = body;
    const asked = { certificateOwnershipToken, parameters: { SerialNumber: device.serial } };
    expect((await connected.ask(provision('pump', 'json'), asked)).body).toMatchObject({ thingName: device.serial });
    // it hears a PUBACK for each message of its own, and of no other
    expect([observation.all('puback-to-device').length, connected.heard]).toEqual([2, []]);
    expect(observation.replies('rejected')).toEqual([]);
    await connected.leave();
    await relay.close();
  });
});
