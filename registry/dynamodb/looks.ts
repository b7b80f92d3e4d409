import {
  DescribeContinuousBackupsCommand,
  DescribeTimeToLiveCommand,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';
import type { AwsGate } from '../../aws/gate.ts';
import type { Try } from '../../aws/permission-try.ts';
import { siteIndex } from './site-index.ts';
import { type Clause, type DynamoTable, keyAttribute } from './table.ts';

/** What `cvm doctor` asks of a table, and no other part does. */
export function openTableLooks(client: Pick<DynamoDBClient, 'send'>, name: string, gate: AwsGate) {
  return {
    /** Whether point-in-time recovery is on. @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeContinuousBackups.html */
    async backups(): Promise<boolean> {
      const command = new DescribeContinuousBackupsCommand({ TableName: name });
      const { ContinuousBackupsDescription: found } = await gate.call('dynamodb:DescribeContinuousBackups', () =>
        client.send(command),
      );
      return found?.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus === 'ENABLED';
    },
    /** The attribute by which DynamoDB deletes rows. @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeTimeToLive.html */
    async timeToLive(): Promise<string | undefined> {
      const command = new DescribeTimeToLiveCommand({ TableName: name });
      const { TimeToLiveDescription: found } = await gate.call('dynamodb:DescribeTimeToLive', () =>
        client.send(command),
      );
      return found?.TimeToLiveStatus?.startsWith('ENABL') ? found.AttributeName : undefined;
    },
  };
}

/** No serial has a "#" in it, and no part makes this row. */
const absentKey = '#doctor';

const isThere: Clause = ({ name }) => `attribute_exists(${name(keyAttribute)})`;

/** For each action of DynamoDB in the policy of the gateway or the operator, a call that changes nothing: its condition cannot hold. */
export function dynamoPermissionTries(table: DynamoTable): Readonly<Record<string, Try>> {
  const first = (rows: AsyncIterable<unknown>) => rows[Symbol.asyncIterator]().next();
  return {
    'dynamodb:GetItem': () => table.glance(absentKey),
    'dynamodb:Scan': () => first(table.scan(1)),
    'dynamodb:Query': () =>
      first(table.query({ index: siteIndex.name, partition: [siteIndex.partition, absentKey], pageSize: 1 })),
    'dynamodb:UpdateItem': () =>
      table.update(absentKey, ({ name, value }) => `SET ${name('seenAt')} = ${value({ N: '0' })}`, isThere),
    'dynamodb:DeleteItem': () => table.delete(absentKey, isThere),
    'dynamodb:PutItem': () => table.put(absentKey, {}, isThere),
  };
}
