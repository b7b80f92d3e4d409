import type { Case } from '../case.ts';
import { certificateCases } from './certificates.ts';
import { claimCases } from './claims.ts';
import { cuts } from './cuts.ts';
import { plain } from './plain.ts';
import { refusals } from './refusals.ts';
import { registrationCases } from './registration.ts';
import { replyCases } from './replies.ts';
import { timeCases } from './time.ts';

/** In the order of the sheet. */
export const cases: readonly Case[] = [
  plain,
  ...cuts,
  ...replyCases,
  ...registrationCases,
  ...certificateCases,
  ...timeCases,
  ...refusals,
  ...claimCases,
];
