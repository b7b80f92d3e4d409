import type { Try } from '../../aws/permission-try.ts';
import { keyAttribute } from './named-attributes.ts';
import { siteIndex } from './site-index.ts';
import type { Clause, DynamoTable } from './table.ts';

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
