/** What the proxy did. No request reached AWS. `lasts`: until a person changes something. */
export class ProxyError extends Error {
  readonly code: string | undefined;
  readonly lasts: boolean;
  readonly cure: string;
  constructor(message: string, cure: string, { cause, lasts = false }: { cause?: unknown; lasts?: boolean } = {}) {
    super(message, { cause });
    this.name = 'ProxyError';
    this.lasts = lasts;
    this.cure = cure;
    this.code = (cause as NodeJS.ErrnoException | undefined)?.code;
  }
}
