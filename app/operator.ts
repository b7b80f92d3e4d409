import type { OperatorDeps } from '../operator/deps.ts';
import { makeToken } from '../protocol/token.ts';
import { type App, keepAudit } from './app.ts';
import { connectIssuer, connectTable } from './aws.ts';

/** The arguments of the operator's functions: the table and AWS IoT Core with the rights of an operator, and no Redis. */
export function connectOperator(app: App): OperatorDeps {
  const { registry, gateways, changes } = connectTable(app, 'operator');
  return {
    registry,
    issuer: connectIssuer(app, 'operator'),
    gateways: () => gateways.known(Date.now()),
    announce: (serials) => changes.announce(serials),
    audit: keepAudit(app, 'cvm'),
    now: Date.now,
    makeToken,
  };
}
