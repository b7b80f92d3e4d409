/** A backup that cannot be made, read or restored. `cure` is for people. */
export class BackupError extends Error {
  readonly cure: string;
  constructor(message: string, cure: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BackupError';
    this.cure = cure;
  }
}
