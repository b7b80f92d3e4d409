import { createMemoryRegistry } from '../../registry/memory.ts';
import { registryContract } from './registry-suite.ts';

registryContract('memory', async () => ({ registry: createMemoryRegistry(), close: async () => {} }));
