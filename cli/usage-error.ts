/** Wrong use of the program: exit status 2, message only. */
export class UsageError extends Error {}
