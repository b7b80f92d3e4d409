import { memoryRows } from '../../registry/memory.ts';
import { type ClaimRow, createClaimCertificates } from '../../registry/rules/claim-certificates.ts';
import { claimCertificatesContract } from './claim-certificates-suite.ts';

claimCertificatesContract('memory', async () => ({
  open: async () => createClaimCertificates(memoryRows(new Map<string, ClaimRow>())),
  close: async () => {},
}));
