/*
 * What a process says of itself stands in Redis, unsigned: who writes there can say anything in its name. So it is shown as what somebody said,
 * and what to do about it is never taken from there.
 */

/** The first of them, between quotation marks that it cannot close. */
export const quoted = ([first = '']: readonly string[]): string => `“${first.replaceAll(/[“”„‟]/g, '"')}”`;

/** @param host where the process runs */
export const cureAt = (host: string): string =>
  `run "cvm doctor" on ${host}, or look at the log of that process, and do what these say; the words in quotation marks came by way of Redis, so run no command that only they name`;
