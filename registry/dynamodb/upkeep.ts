import {
  DescribeContinuousBackupsCommand,
  DescribeTimeToLiveCommand,
  type DynamoDBClient,
  UpdateContinuousBackupsCommand,
  UpdateTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb';
import type { AwsGate } from '../../aws/gate.ts';
import { expiryAttribute } from './named-attributes.ts';

/** What AWS does with the rows of a table by itself: keeps them for a recovery, and deletes those that may go. */
export type TableUpkeep = {
  /** Whether point-in-time recovery is on. */
  backups(): Promise<boolean>;
  turnOnBackups(): Promise<void>;
  /** The attribute by which DynamoDB deletes rows; undefined: it deletes none. */
  timeToLive(): Promise<string | undefined>;
  turnOnTimeToLive(): Promise<void>;
};

/**
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeContinuousBackups.html
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateContinuousBackups.html
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeTimeToLive.html
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateTimeToLive.html
 */
export function openTableUpkeep(client: Pick<DynamoDBClient, 'send'>, name: string, gate: AwsGate): TableUpkeep {
  return {
    async backups() {
      const command = new DescribeContinuousBackupsCommand({ TableName: name });
      const { ContinuousBackupsDescription: found } = await gate.call('dynamodb:DescribeContinuousBackups', () =>
        client.send(command),
      );
      return found?.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus === 'ENABLED';
    },
    async turnOnBackups() {
      const command = new UpdateContinuousBackupsCommand({
        TableName: name,
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
      });
      await gate.call('dynamodb:UpdateContinuousBackups', () => client.send(command));
    },
    async timeToLive() {
      const command = new DescribeTimeToLiveCommand({ TableName: name });
      const { TimeToLiveDescription: found } = await gate.call('dynamodb:DescribeTimeToLive', () =>
        client.send(command),
      );
      return found?.TimeToLiveStatus?.startsWith('ENABL') ? found.AttributeName : undefined;
    },
    async turnOnTimeToLive() {
      const command = new UpdateTimeToLiveCommand({
        TableName: name,
        TimeToLiveSpecification: { Enabled: true, AttributeName: expiryAttribute },
      });
      await gate.call('dynamodb:UpdateTimeToLive', () => client.send(command));
    },
  };
}
