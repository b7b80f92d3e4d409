import { createMemoryIssuer } from '../fakes/memory-issuer.ts';
import { issuerContract } from './issuer-suite.ts';

issuerContract('memory', async () => createMemoryIssuer());
