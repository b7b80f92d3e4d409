import { expect, it } from 'vitest';
import { memoryRows } from '../../registry/memory.ts';
import { createGateways, type GatewayRow } from '../../registry/rules/gateways.ts';
import { newGateway } from '../support/trust.ts';
import { gatewaysContract } from './gateways-suite.ts';

gatewaysContract('memory', async () => ({
  open: async () => createGateways(memoryRows(new Map<string, GatewayRow>())),
  close: async () => {},
}));

it('an entry of the table whose id is not that of its keys counts for nothing', async () => {
  const { id: _id, ...keys } = newGateway().identity;
  const entries = { [newGateway().identity.id]: { ...keys, seenAt: 1, state: 'approved' } };
  const row: GatewayRow = { revision: 1, approvedFirst: 'x', entries };
  expect(await createGateways(memoryRows(new Map([['#gateways', row]]))).known()).toEqual([]);
});
