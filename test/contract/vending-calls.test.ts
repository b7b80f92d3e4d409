import { CreateThingGroupCommand } from '@aws-sdk/client-iot';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createAwsIssuer } from '../../issuer/aws-iot.ts';
import { openIot } from '../../issuer/iot-calls.ts';
import { ensurePolicy } from '../../issuer/setup.ts';
import { type KeyOrigin, vendingCalls } from '../../issuer/vending-calls.ts';
import { makeEcKey, openStandIn } from './aws-local-fixture.ts';

let standIn: Awaited<ReturnType<typeof openStandIn>>;
const calls: string[] = [];
let issuer: ReturnType<typeof createAwsIssuer>;

beforeAll(async () => {
  standIn = await openStandIn({ keyPool: 1 });
  const client = standIn.iot();
  const iot = openIot(
    { client, creator: client, region: async () => 'us-east-1', close() {} },
    {
      call(operation, send) {
        calls.push(operation);
        return send();
      },
    },
  );
  issuer = createAwsIssuer({ iot, log: pino({ level: 'silent' }) });
  await ensurePolicy(iot, 'cvm-device');
  await client.send(new CreateThingGroupCommand({ thingGroupName: 'meters' }));
});
afterAll(() => standIn.close());

const flows = (['rsa', 'ec', 'csr'] as const).flatMap((key) => [
  { key, group: false },
  { key, group: true },
]);

it.each(flows)(
  'a vend of $key, group $group, makes the calls of AWS IoT Core that are told',
  async ({ key, group }) => {
    calls.length = 0;
    const thingName = `SN-${key}-${group}`;
    await issuer.ensureThing(thingName);
    const { certificateId } = await issuer.issue(await sourceOf(key, thingName));
    const itsGroup = group ? { thingGroupName: 'meters' } : {};
    await issuer.attach({ certificateId, thingName, policyName: 'cvm-device', ...itsGroup });
    await issuer.activate(certificateId);
    expect([...calls].sort()).toEqual([...vendingCalls(key, { group })].sort());
  },
);

const sourceOf = async (key: KeyOrigin, serial: string) =>
  key === 'rsa' ? 'rsa' : { csrPem: (await makeEcKey(serial)).csrPem };
