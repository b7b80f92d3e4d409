import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';

/** RFC 1123, and `_`, which names of containers have. */
const label = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i;
const [maxLength, cure] = [253, 'write host names and IP addresses, with commas between them'];

/** @returns why a text is neither a host name nor an IP address, and what to write; undefined when it is one */
export function hostNameProblem(text: string): string | undefined {
  if (isIP(text) !== 0) return undefined;
  const [, host = '', port] = /^(?:\w+:\/\/)?([^/:]*)(:\d+)?/.exec(text) ?? [];
  if (text.includes('://')) return `is a URL; write the host name alone${host === '' ? '' : `: ${host}`}`;
  if (port !== undefined && host + port === text) return `has a port; write the host name alone: ${host}`;
  if (text.startsWith('*')) return 'is a wildcard; write each name that devices use';
  if (/[^ -~]/.test(text)) return inAscii(text);
  const labels = text.replace(/\.$/, '').split('.');
  if (text.length > maxLength || !labels.every((each) => label.test(each))) return `is no host name; ${cure}`;
  if (/^\d+$/.test(labels.at(-1) ?? '')) return `looks like an IP address and is none; ${cure}`;
  return undefined;
}

/** A certificate holds names in ASCII (RFC 5280 §7.2). */
function inAscii(text: string): string {
  const ascii = domainToASCII(text);
  return `has other characters than ASCII; write ${ascii === '' ? 'it in ASCII (punycode)' : `it as ${ascii}`}`;
}
