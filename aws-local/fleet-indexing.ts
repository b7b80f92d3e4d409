import type { Operation } from './account.ts';
import { refuse } from './errors.ts';
import type { Indexing } from './store.ts';
import { thingOf } from './things.ts';

/** In AWS it is off until somebody turns it on; here on, so that a first try needs one command less. */
const usual: Indexing = { thingIndexingMode: 'REGISTRY', thingConnectivityIndexingMode: 'STATUS' };

/** @see https://docs.aws.amazon.com/iot/latest/apireference/API_UpdateIndexingConfiguration.html */
export const UpdateIndexingConfiguration: Operation = ({ store }, { thingIndexingConfiguration: given }) => {
  if (given === undefined) return {};
  const { thingIndexingMode, thingConnectivityIndexingMode = 'OFF' } = given;
  if (thingIndexingMode === undefined) refuse('InvalidRequestException', 'thingIndexingMode must not be null');
  if (thingIndexingMode === 'OFF' && thingConnectivityIndexingMode !== 'OFF')
    refuse('InvalidRequestException', 'Connectivity cannot be indexed where things are not');
  store.put('indexing', 'things', { thingIndexingMode, thingConnectivityIndexingMode });
  return {};
};

/**
 * As in AWS, what is indexed is the client whose id is the name of a thing. That AWS answers IndexNotReadyException where the index is off, and not
 * another of the errors that it documents: believed.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/device-connectivity-status.html
 */
export const GetThingConnectivityData: Operation = (account, input) => {
  const { thingConnectivityIndexingMode } = account.store.get('indexing', 'things') ?? usual;
  if (thingConnectivityIndexingMode === 'OFF') refuse('IndexNotReadyException', 'The index AWS_Things is not ready');
  const { thingName } = thingOf(account, input.thingName);
  const found = account.store.get('connectivity', thingName);
  if (found === undefined) return { thingName, connected: false };
  const { connected, timestamp } = found;
  const disconnectReason = connected ? 'NONE' : 'UNKNOWN';
  return { thingName, connected, timestamp: timestamp / 1000, disconnectReason };
};
