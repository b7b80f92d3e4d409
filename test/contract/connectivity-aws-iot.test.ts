import { UpdateIndexingConfigurationCommand } from '@aws-sdk/client-iot';
import { createAwsGate } from '../../aws/gate.ts';
import { createAwsConnectivity } from '../../issuer/aws-iot-connectivity.ts';
import { connectIotClients, openIot } from '../../issuer/iot-calls.ts';
import { devicePolicy, openStandIn } from './aws-local-fixture.ts';
import { connectivityContract } from './connectivity-suite.ts';

const faults = {
  throttle: { operation: 'GetThingConnectivityData', kind: 'throttle', times: 1 },
  denied: {
    operation: 'GetThingConnectivityData',
    kind: 'fail-before',
    errorName: 'AccessDeniedException',
    status: 403,
    times: 1,
  },
} as const;

connectivityContract('AWS IoT', async () => {
  const standIn = await openStandIn();
  await standIn.create('device', devicePolicy);
  const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
  const clients = connectIotClients({ region: 'us-east-1', endpoint: standIn.aws().httpUrl, credentials });
  const gate = createAwsGate({ table: 'devices', region: clients.region });
  const made = new Map<string, Awaited<ReturnType<typeof standIn.vended>>>();
  return {
    connectivity: createAwsConnectivity(openIot(clients, gate)),
    async makeThing() {
      const device = await standIn.vended();
      made.set(device.thingName, device);
      return device.thingName;
    },
    async connect(thingName) {
      const device = made.get(thingName);
      if (device === undefined) throw new Error(`no device ${thingName}`);
      const client = await standIn.connect(device, thingName);
      return () => client.endAsync();
    },
    async fault(kind) {
      const mode = kind === 'no-index' ? 'OFF' : 'STATUS';
      const things = { thingIndexingMode: 'REGISTRY', thingConnectivityIndexingMode: mode } as const;
      await standIn.iot().send(new UpdateIndexingConfigurationCommand({ thingIndexingConfiguration: things }));
      if (kind !== 'no-index') standIn.aws().faults.set([faults[kind]]);
    },
    async close() {
      clients.close();
      await standIn.close();
    },
  };
});
