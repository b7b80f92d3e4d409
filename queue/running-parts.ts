/** What a process of this gateway says of itself. It decides nothing: people read it. Times in epoch milliseconds. */
export type RunningPart = {
  /** of this start of the process */
  readonly id: string;
  readonly part: 'broker' | 'worker' | 'console';
  readonly version: string;
  readonly host: string;
  readonly pid: number;
  readonly site?: string | undefined;
  readonly since: number;
  /** why it cannot do its work now, with the cure */
  readonly troubles: readonly string[];
  /** of a broker: what devices verify it with */
  readonly certificates: readonly { readonly name: 'server' | 'site CA'; readonly notAfter: number }[];
  /** where its data are; bytes */
  readonly disk?: { readonly path: string; readonly freeBytes: number; readonly totalBytes: number } | undefined;
  /** calls of AWS IoT Core in a second, by operation, as far as it made some lately */
  readonly calls: Readonly<Record<string, number>>;
};

/** `seenAt`: by the clock of Redis, which is one for all processes. */
export type SeenPart = RunningPart & { readonly seenAt: number };

/** The processes of a gateway that run now, wherever they are. */
export interface RunningParts {
  /** Said again every few seconds: a process that has not said it for half a minute has ended, or is frozen. */
  say(part: RunningPart): Promise<void>;
  /** It ends. */
  leave(id: string): Promise<void>;
  /** Those that said it lately, the ones that started first before the others. */
  list(): Promise<readonly SeenPart[]>;
  close(): Promise<void>;
}
