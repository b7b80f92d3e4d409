import { awsChecks } from './aws.ts';
import type { Check } from './check.ts';
import { gatewayChecks } from './gateway.ts';
import { machineChecks } from './machine.ts';
import { networkChecks } from './network.ts';
import { permissionChecks } from './permissions.ts';
import { redisChecks } from './redis.ts';
import { settingsChecks } from './settings.ts';
import { tableChecks } from './table.ts';
import { tlsChecks } from './tls.ts';

/** Every check, in the order in which findings are shown. To add one: a line in the file of its group. */
export const checks: readonly Check[] = [
  ...settingsChecks,
  ...machineChecks,
  ...networkChecks,
  ...tlsChecks,
  ...redisChecks,
  ...awsChecks,
  ...tableChecks,
  ...permissionChecks,
  ...gatewayChecks,
];
