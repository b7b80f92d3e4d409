import type { Issuer } from '../issuer/issuer.ts';
import type { OperatorDeps } from '../operator/deps.ts';
import { makeToken } from '../protocol/token.ts';
import type { AssociationTable } from '../registry/dynamodb/association-table.ts';
import { gatewaysToSealTo } from '../registry/gateways.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { App } from './app.ts';
import { connectIssuer, connectTable } from './aws.ts';
import { inOperatorsShare } from './task-share.ts';

/** The arguments of the operator's functions: the table and AWS IoT Core with the rights of an operator, and no Redis. */
export function connectOperator(app: App, audit: Audit): OperatorDeps {
  return operatorOf(app, audit, connectTable(app, 'operator'), connectIssuer(app, 'operator', inOperatorsShare(app)));
}

export function operatorOf(app: App, audit: Audit, table: AssociationTable, issuer: Issuer): OperatorDeps {
  const { registry, gateways, changes, silent } = table;
  return {
    silent,
    registry,
    table: app.settings.table,
    issuer,
    gateways: async () => gatewaysToSealTo(await gateways.known(), app.awsTime.now()),
    approvedGateways: async () => (await gateways.known()).filter(({ state }) => state === 'approved'),
    announce: changes.announce,
    audit,
    now: app.awsTime.now,
    makeToken,
  };
}
