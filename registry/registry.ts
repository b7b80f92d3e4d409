import type { Attempts } from './attempts.ts';
import type { CameAlive } from './came-alive.ts';
import type { Decisions } from './decisions.ts';
import type { Deletions } from './deletions.ts';
import type { Devices } from './devices.ts';
import type { Reconciliation } from './reconciliation.ts';
import type { Takeover } from './takeover.ts';

/**
 * The association table as a whole; each user takes the interfaces that it needs. Promises of every adapter:
 *
 * - Each method decides by one conditional write, and its answer is the decision; reads before or after it only find the
 *   reason. Of two callers at once, one wins.
 * - Reads see every write that was answered before them.
 * - A refusal is a value; an outage is an exception.
 */
export type Registry = Devices & Attempts & CameAlive & Decisions & Deletions & Reconciliation & Takeover;
