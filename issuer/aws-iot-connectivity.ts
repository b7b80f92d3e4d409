import { awsErrorName } from '../aws/errors.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import { type Connectivity, ConnectivityUnavailable } from './connectivity.ts';
import type { IotCalls } from './iot-calls.ts';

const indexCure =
  'turn on fleet indexing with connectivity: aws iot update-indexing-configuration --thing-indexing-configuration thingIndexingMode=REGISTRY,thingConnectivityIndexingMode=STATUS. It takes AWS some minutes, and is charged by connection and query';

/**
 * AWS IoT's fleet indexing, one thing a call. `SearchIndex` finds many things at once, and is no cheaper here: a query names few
 * things, has a low rate for each account, and would read the things of others as well. AWS ties a connection to the thing whose name is the client
 * id, which the policy of our devices demands.
 *
 * A device whose last connection ended over an hour before indexing was turned on counts as one that never connected.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/device-connectivity-status.html
 */
export function createAwsConnectivity(iot: Pick<IotCalls, 'getThingConnectivityData'>): Connectivity {
  return {
    async of(thingName) {
      try {
        const { connected = false, timestamp } = await iot.getThingConnectivityData(thingName);
        return timestamp === undefined ? 'never' : { connected, at: timestamp.getTime() };
      } catch (error) {
        const name = awsErrorName(error);
        if (name === 'ResourceNotFoundException') return 'never';
        // the text of the second is not documented: for a thing name of ours, nothing else is invalid
        if (name === 'IndexNotReadyException' || name === 'InvalidRequestException')
          throw new ConnectivityUnavailable('the index of connections is off, or is being built', indexCure, {
            cause: error,
          });
        if (error instanceof UpstreamRefused)
          throw new ConnectivityUnavailable(error.message, error.cure, { cause: error });
        throw error;
      }
    },
  };
}
