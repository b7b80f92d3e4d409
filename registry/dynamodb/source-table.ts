import type { SourceForm, SourceRow, SourceTable } from '../source-table.ts';
import { deviceOf, isHash } from './device-attributes.ts';
import type { DynamoTable, Item } from './table.ts';

/** Rows of one page. A page is one call, so a limit on calls in a second is one on rows, too. */
const pageSize = 100;

/** @param form of every row; without it, each row is read by the partition key that it has */
export function createSourceTable(table: Pick<DynamoTable, 'scan'>, form?: SourceForm): SourceTable {
  return {
    async *rows() {
      for await (const item of table.scan(pageSize)) {
        const row = rowOf(item, form);
        if (row !== undefined) yield row;
      }
    },
  };
}

/** Undefined for a row that is no device. */
function rowOf(item: Item, wanted: SourceForm | undefined): SourceRow | undefined {
  const { productId, serialNumber, accessToken, deviceToken, certinfo } = item;
  const form = productId === undefined ? 'awslabs' : 'cvm';
  const key = (productId ?? serialNumber)?.S ?? '';
  // a row of a gateway's own table that is no device
  if (form === 'cvm' && key.startsWith('#')) return undefined;
  if (key === '' || (wanted !== undefined && wanted !== form)) return { key: key || firstTextOf(item) };
  if (form === 'cvm') return rowWith(key, item, accessToken?.S);
  const isVended = Boolean(certinfo?.S);
  const translated: Item = {
    productId: { S: key },
    ...(deviceToken === undefined ? {} : { accessToken: deviceToken }),
    applyState: { N: isVended ? '-1' : '0' },
    ...(isVended && certinfo !== undefined ? { certID: certinfo } : {}),
  };
  return rowWith(key, translated, deviceToken?.S);
}

function rowWith(key: string, item: Item, accessToken: string | undefined): SourceRow | undefined {
  const device = deviceOf(item);
  if (device.removedAt !== undefined) return undefined;
  const region = /^arn:[^:]*:iot:([^:]+):/.exec(item.certID?.S ?? item.certId?.S ?? '')?.[1];
  return {
    key,
    device,
    ...(device.tokenForm === 'not-hashed' && accessToken !== undefined ? tokenOf(accessToken) : {}),
    ...(region === undefined ? {} : { certificateRegion: region }),
  };
}

/** Another spelling of a hash is no token. */
const tokenOf = (stored: string): Pick<SourceRow, 'stored' | 'token'> =>
  isHash(stored) ? { stored } : { stored, token: stored };

/** Names a row that has no key of ours, for a person to find it; never an attribute that may hold a token. */
const firstTextOf = (item: Item): string => `a row with ${Object.keys(item).sort().slice(0, 5).join(', ')}`;
