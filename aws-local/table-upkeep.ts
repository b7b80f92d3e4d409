import type { Store, Table } from 'dynalite/db/index.js';
import { ApiError } from './errors.ts';
import { changeTable } from './index-creation.ts';

/** The inputs of the four operations, as far as they are served. */
export type UpkeepInput = {
  readonly TableName?: string;
  readonly PointInTimeRecoverySpecification?: { readonly PointInTimeRecoveryEnabled?: boolean };
  readonly TimeToLiveSpecification?: { readonly Enabled?: boolean; readonly AttributeName?: string };
};

type Upkeep = NonNullable<Table['upkeep']>;

/**
 * What dynalite leaves out: point-in-time recovery and time to live of a table. They are kept with it and told; no row is deleted, which
 * AWS does within days only.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateContinuousBackups.html
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateTimeToLive.html
 */
export const upkeepOperations: Readonly<Record<string, (store: Store, input: UpkeepInput) => Promise<object>>> = {
  DescribeContinuousBackups: async (store, input) => backupsOf(await change(store, input, 'TableNotFoundException')),
  UpdateContinuousBackups: async (store, input) => {
    const recovery = input.PointInTimeRecoverySpecification?.PointInTimeRecoveryEnabled === true;
    return backupsOf(await change(store, input, 'TableNotFoundException', (upkeep) => ({ ...upkeep, recovery })));
  },
  DescribeTimeToLive: async (store, input) => {
    const { expiresBy } = await change(store, input, 'ResourceNotFoundException');
    const on = expiresBy === undefined ? { TimeToLiveStatus: 'DISABLED' } : ttlOn(expiresBy);
    return { TimeToLiveDescription: on };
  },
  UpdateTimeToLive: async (store, input) => {
    await change(store, input, 'ResourceNotFoundException', (upkeep) => withTimeToLive(upkeep, input));
    return { TimeToLiveSpecification: input.TimeToLiveSpecification };
  },
};

const ttlOn = (attribute: string) => ({ TimeToLiveStatus: 'ENABLED', AttributeName: attribute });

const backupsOf = ({ recovery }: Upkeep) => ({
  ContinuousBackupsDescription: {
    ContinuousBackupsStatus: 'ENABLED',
    PointInTimeRecoveryDescription: { PointInTimeRecoveryStatus: recovery ? 'ENABLED' : 'DISABLED' },
  },
});

function withTimeToLive({ expiresBy, ...others }: Upkeep, { TimeToLiveSpecification: wanted }: UpkeepInput): Upkeep {
  const { Enabled, AttributeName } = wanted ?? {};
  if (!AttributeName) throw new ApiError('ValidationException', 'TimeToLiveSpecification has no AttributeName');
  if (expiresBy !== undefined && expiresBy !== AttributeName)
    throw new ApiError(
      'ValidationException',
      `TimeToLive is active on a different AttributeName: current AttributeName is ${expiresBy}`,
    );
  if ((expiresBy !== undefined) === Enabled)
    throw new ApiError('ValidationException', `TimeToLive is already ${Enabled ? 'enabled' : 'disabled'}`);
  return Enabled ? { ...others, expiresBy: AttributeName } : others;
}

/** @param missing AWS's name for the error where there is no such table, which differs between the operations */
async function change(
  store: Store,
  { TableName: name = '' }: UpkeepInput,
  missing: string,
  to: (upkeep: Upkeep) => Upkeep = (upkeep) => upkeep,
): Promise<Upkeep> {
  const isThere = await new Promise((resolve) =>
    store.tableDb.get(name, (_gone, found) => resolve(found !== undefined)),
  );
  if (!isThere) throw new ApiError(missing, `Table not found: ${name}`);
  return (await changeTable(store, name, (table) => ({ ...table, upkeep: to(table.upkeep ?? {}) }))).upkeep ?? {};
}
