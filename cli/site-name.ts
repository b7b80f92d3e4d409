import { InvalidArgumentError } from 'commander';
import { isSiteName, siteNameRule } from '../runtime/site-name.ts';

/** The argument of an option that names a site. */
export function siteName(text: string): string {
  if (!isSiteName(text)) throw new InvalidArgumentError(`It is no site: ${siteNameRule}.`);
  return text;
}
