import { packageVersion } from './version.ts';

/** What a later version has stored, in a form that this version does not know. */
export class NewerFormatError extends Error {
  readonly cure: string;
  /** @param what is of that form: `the table cvm-devices` @param found `by`: the version that wrote it, if it is known */
  constructor(
    what: string,
    found: { readonly format: number; readonly by?: string | undefined; readonly known: number },
  ) {
    const { format, by, known } = found;
    super(
      `${what} has format ${format}${by === undefined ? '' : `, by cvm ${by}`}, and this version (${packageVersion().version}) knows format ${known}: it must not touch it`,
    );
    this.name = 'NewerFormatError';
    this.cure = `run cvm ${by ?? 'in the version that was used last'} or newer here, or restore a backup from before the upgrade (docs/operations.md#upgrade)`;
  }
}
