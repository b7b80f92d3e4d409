/** The name of a site: it stands in rows, in keys of the table, and in logs. */
export const siteNamePattern = /^[A-Za-z0-9:_-]{1,64}$/;

export const siteNameRule = 'the name of a site has 1 to 64 of the characters A-Z a-z 0-9 : _ -';

export function isSiteName(text: string): boolean {
  return siteNamePattern.test(text);
}
