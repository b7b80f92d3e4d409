import type { OperatorDeps } from '../operator/deps.ts';
import { makeToken } from '../protocol/token.ts';
import { gatewaysToSealTo } from '../registry/gateways.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { App } from './app.ts';
import { connectIssuer, connectTable } from './aws.ts';

/** The arguments of the operator's functions: the table and AWS IoT Core with the rights of an operator, and no Redis. */
export function connectOperator(app: App, audit: Audit): OperatorDeps {
  const { registry, gateways, changes } = connectTable(app, 'operator');
  return {
    registry,
    table: app.settings.table,
    issuer: connectIssuer(app, 'operator'),
    gateways: async () => gatewaysToSealTo(await gateways.known(), app.awsTime.now()),
    approvedGateways: async () => (await gateways.known()).filter(({ state }) => state === 'approved'),
    announce: (serials) => changes.announce(serials),
    audit,
    now: app.awsTime.now,
    makeToken,
  };
}
