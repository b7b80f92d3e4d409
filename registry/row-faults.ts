import type { Device } from './device.ts';

/** Why a row that another tool wrote gets its device nothing until a person acts. */
export type RowFault = 'token-not-hashed' | 'token-missing' | 'state-unknown';

export function faultOf({ tokenForm, state }: Pick<Device, 'tokenForm' | 'state'>): RowFault | undefined {
  if (state === 'unknown') return 'state-unknown';
  return tokenForm && `token-${tokenForm}`;
}

/** What is wrong, and what the operator does about it. @param table its name, since tokens are hashed in place */
export function cureOf(fault: RowFault, serial: string, table: string): string {
  if (fault === 'state-unknown') return `${stateFault}; ${stateCure(serial)}`;
  if (fault === 'token-missing')
    return `its accessToken is missing or is no text, so no token fits; make one: cvm devices reissue ${serial}`;
  return `its accessToken is not sha256:<64 lower-case hex digits>; hash the tokens of the table in place: cvm devices import --from-table ${table}`;
}

export const stateFault = 'its applyState is none of the numbers 0, 1, -1 and -2';

export const stateCure = (serial: string): string =>
  `correct it in DynamoDB, or remove the device: cvm devices remove ${serial}`;
