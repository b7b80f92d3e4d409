/** How many devices a second the workers of this gateway let through to AWS at present: what a place in the line is worth. */
export interface Pace {
  /** Said by a worker, every few seconds while it runs. It is forgotten when no worker says it for a minute. */
  notePace(perSecond: number): Promise<void>;
  /** Undefined where no worker has said it lately. */
  readPace(): Promise<number | undefined>;
  close(): Promise<void>;
}
