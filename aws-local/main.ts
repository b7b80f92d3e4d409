import { join } from 'node:path';
import type { Account } from './account.ts';
import { placeOf } from './arn.ts';
import { openAuthority } from './certificate-authority.ts';
import { startDataPlane } from './data-plane.ts';
import { forwardDynamo, openDynalite } from './dynamodb.ts';
import { createFaults, type Faults } from './faults.ts';
import { createHttp } from './http.ts';
import { createKeyPool, keptRsaPairs, makeRsaPair } from './key-pool.ts';
import { listenAt } from './listening.ts';
import { type Logger, silentLogger } from './logger.ts';
import { createQuotas, type Quotas } from './quotas.ts';
import { openStore } from './store.ts';

export type AwsLocalOptions = {
  readonly dataDir: string;
  /** 0 takes a free one */
  readonly httpPort: number;
  readonly mqttPort: number;
  /** address to listen on, 127.0.0.1 unless given */
  readonly host?: string;
  /** what DescribeEndpoint says; a host name without a port, as AWS's are */
  readonly endpointAddress?: string;
  readonly quotas?: Quotas;
  /** RSA key pairs to make in advance */
  readonly keyPool?: number;
  readonly account?: string;
  /** us-east-1 unless given. The partition follows from it: aws, aws-cn or aws-us-gov. Each region has a state of its own */
  readonly region?: string;
  /** milliseconds for which a detached thing is still seen as attached */
  readonly detachMs?: number;
  readonly log?: Logger;
};

const usualRegion = 'us-east-1';

export type AwsLocal = {
  readonly region: string;
  readonly httpUrl: string;
  readonly mqttPort: number;
  readonly rootCaFile: string;
  readonly faults: Faults;
  close(): Promise<void>;
};

/** Starts the stand-in for AWS IoT Core and DynamoDB. Its state is below `dataDir`. @throws when a port is taken */
export async function startAwsLocal(options: AwsLocalOptions): Promise<AwsLocal> {
  const {
    dataDir,
    host = '127.0.0.1',
    endpointAddress = 'localhost',
    account: accountId = '000000000000',
    region = usualRegion,
    log = silentLogger,
  } = options;
  // both are set by the project's own test runs
  const { STAND_IN_KEY_FOLDER: keyFolder, STAND_IN_DYNAMODB_URL: dynamoUrl } = process.env;
  const makePair = keyFolder === undefined ? makeRsaPair : keptRsaPairs(keyFolder, dataDir);
  const authority = await openAuthority(dataDir, makePair);
  const store = openStore(join(dataDir, region === usualRegion ? 'iot' : `iot-${region}`));
  const account: Account = {
    store,
    authority,
    keys: createKeyPool(options.keyPool ?? 0, makePair),
    endpointAddress,
    detachMs: options.detachMs ?? 20,
    place: placeOf(region, accountId),
    onCertificateChange: [],
  };
  const dynamo = dynamoUrl === undefined ? openDynalite(dataDir) : forwardDynamo(dynamoUrl, dataDir);
  const faults = createFaults();
  const http = createHttp({
    account,
    faults,
    quotas: createQuotas(options.quotas ?? 'default'),
    dynamo: dynamo.server,
    log,
  });
  const httpPort = await listenAt(http, options.httpPort, host, log);
  const dataPlane = await startDataPlane({
    account,
    port: options.mqttPort,
    host,
    tls: await authority.serverCertificate([endpointAddress]),
    log,
  });
  await account.keys.filled;
  return {
    region,
    httpUrl: `http://${host === '0.0.0.0' ? '127.0.0.1' : host}:${httpPort}`,
    mqttPort: dataPlane.port,
    rootCaFile: authority.rootFile,
    faults,
    async close() {
      const closed = new Promise((resolve) => http.close(resolve));
      http.closeAllConnections();
      await Promise.all([closed, dataPlane.close()]);
      // detachments that are still due must be written first
      await new Promise((resolve) => setTimeout(resolve, account.detachMs));
      await dynamo.close();
      store.close();
    },
  };
}
