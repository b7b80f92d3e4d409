import type { Device } from './device.ts';

/** `cvm`: the reference design's five fields. `awslabs`: AWS's published sample (`serialNumber`, `deviceToken`, `certinfo`). */
export const sourceForms = ['cvm', 'awslabs'] as const;
export type SourceForm = (typeof sourceForms)[number];

/** One row of a table that another tool filled. */
export type SourceRow = {
  /** its partition key, which may be no serial */
  readonly key: string;
  /** by the names of its properties; absent where the row has another form */
  readonly device?: Device;
  /** its token as it stands there, where that is not as ours is stored */
  readonly stored?: string;
  /** its token in clear */
  readonly token?: string;
  /** the AWS region that the ARN of its certificate names */
  readonly certificateRegion?: string;
};

/** A table that is read, and never written. */
export interface SourceTable {
  /** Every row, page by page, in no particular order. */
  rows(): AsyncIterable<SourceRow>;
}
