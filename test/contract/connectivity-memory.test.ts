import { createMemoryConnectivity } from '../fakes/memory-connectivity.ts';
import { connectivityContract } from './connectivity-suite.ts';

connectivityContract('memory', async () => {
  const { connectivity, connect, disconnect, setFault } = createMemoryConnectivity();
  let number = 0;
  return {
    connectivity,
    makeThing: async () => `thing-${++number}`,
    async connect(thingName) {
      connect(thingName);
      return async () => disconnect(thingName);
    },
    fault: setFault,
    async close() {},
  };
});
