import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join, relative, sep } from 'node:path';
import { gzipSync } from 'node:zlib';

/** A file of the console's pages, ready to be sent. `gzip`: absent where it would not be shorter. */
export type WebFile = {
  readonly body: Buffer;
  readonly gzip?: Buffer;
  readonly contentType: string;
  /** a strong validator, quotes included (RFC 9110, 8.8.3) */
  readonly etag: string;
  readonly cacheControl: string;
};

/**
 * For every answer of the console. No script or style stands in a page, nothing comes from elsewhere, and no script can turn a text into
 * markup (Trusted Types without any policy): a serial such as `<img onerror=…>` stays a text.
 */
export const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const contentTypes: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.webmanifest': 'application/manifest+json',
};

type Vendored = {
  readonly name: string;
  readonly packageName: string;
  readonly file: string;
  readonly adapt?: (text: string) => string;
};

/** Modules of other packages. A browser resolves no bare names, so imports of one another are made relative. */
const vendored: readonly Vendored[] = [
  { name: 'preact.js', packageName: 'preact', file: 'dist/preact.mjs' },
  {
    name: 'hooks.js',
    packageName: 'preact',
    file: 'hooks/dist/hooks.mjs',
    adapt: (text) => replaceOnce(text, 'from"preact"', 'from"./preact.js"'),
  },
  { name: 'htm.js', packageName: 'htm', file: 'dist/htm.mjs' },
  {
    name: 'uplot.js',
    packageName: 'uplot',
    file: 'dist/uPlot.iife.min.js',
    // its module build is three times as long; this one declares `uPlot` and exports nothing
    adapt: (text) => `${text}\nexport default uPlot;\n`,
  },
  { name: 'uqr.js', packageName: 'uqr', file: 'dist/index.mjs' },
];

/** The plot's own style stands in front of ours: nothing is drawn before every style is there, and one answer is there before two. */
const plotStyle = { packageName: 'uplot', file: 'dist/uPlot.min.css' };

const require = createRequire(import.meta.url);

/**
 * Reads every file that the console's pages consist of, once. The server answers from this map alone, so no path can reach another file.
 *
 * All but `/` stand below `/assets/<digest of all>/` and never change there, so a browser asks for them once in each version; the page
 * itself is asked for anew each time.
 *
 * @returns the files by the path of their URL
 * @throws when a file is missing, or a package is not as expected
 */
export function readWebFiles(folder: string = join(import.meta.dirname, 'web')): ReadonlyMap<string, WebFile> {
  const texts = new Map<string, Buffer>();
  for (const name of filesBelow(folder)) texts.set(name, readFileSync(join(folder, name)));
  for (const { name, adapt = (text: string) => text, ...of } of vendored)
    texts.set(`vendor/${name}`, Buffer.from(adapt(readVendored(of))));
  texts.set('app.css', Buffer.from(`${readVendored(plotStyle)}\n${texts.get('app.css') ?? ''}`));
  const page = texts.get('index.html');
  if (page === undefined) throw new Error(`there is no index.html in ${folder}: run npm run build`);
  const version = digest([...texts.entries()].flatMap(([name, body]) => [Buffer.from(name), body])).slice(0, 12);
  const base = `assets/${version}/`;
  const files = new Map<string, WebFile>();
  for (const [name, body] of texts) {
    if (name !== 'index.html')
      files.set(`/${base}${name}`, createFile(name, body, 'public, max-age=31536000, immutable'));
  }
  files.set('/', createFile('index.html', Buffer.from(writePage(page.toString(), base, texts)), 'no-cache'));
  return files;
}

/** @param base the folder of the assets, relative to the page: a proxy may serve the console below a path of its own */
function writePage(page: string, base: string, texts: ReadonlyMap<string, Buffer>): string {
  const links = staticImports('main.js', texts).map(
    (name) => `<link rel="modulepreload" fetchpriority="low" href="./${name}">`,
  );
  return replaceOnce(page, '<!-- modulepreload -->', links.join('\n    ')).replaceAll('="./', `="${base}`);
}

/** The modules that this one needs before it runs, itself included: a browser that hears of them at once loads them at once. */
function staticImports(entry: string, texts: ReadonlyMap<string, Buffer>): string[] {
  const found = new Set<string>([entry]);
  for (const name of found) {
    const text = texts.get(name)?.toString();
    if (text === undefined) throw new Error(`a module of the console imports ${name}, which is not there`);
    for (const [, specifier = ''] of text.matchAll(
      /(?:^|[};\n])\s*(?:import|export)[^'"()]*?from\s*['"](\.[^'"]+)['"]/g,
    ))
      found.add(join(dirname(name), specifier).split(sep).join('/'));
  }
  return [...found];
}

function createFile(name: string, body: Buffer, cacheControl: string): WebFile {
  const contentType = contentTypes[extname(name)];
  if (contentType === undefined) throw new Error(`no content type is known for ${name}`);
  const gzip = gzipSync(body, { level: 9 });
  const etag = `"${digest([body]).slice(0, 22)}"`;
  return { body, ...(gzip.length < body.length ? { gzip } : {}), contentType, etag, cacheControl };
}

/** Names relative to the folder, with `/`, without files that are for the type checker and for people. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((name) => !name.endsWith('.d.ts') && contentTypes[extname(name)] !== undefined)
    .sort();
}

const readVendored = ({ packageName, file }: Pick<Vendored, 'packageName' | 'file'>): string =>
  readFileSync(join(packageFolder(packageName), file), 'utf8');

function packageFolder(name: string): string {
  // not every package exports its package.json, and none exports the files above: the folder is found by the search path of the module system
  const folders = (require.resolve.paths(name) ?? []).map((folder) => join(folder, name));
  const found = folders.find((folder) => isReadable(join(folder, 'package.json')));
  if (found === undefined) throw new Error(`the package ${name} is missing: run npm ci`);
  return found;
}

function isReadable(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}

function replaceOnce(text: string, part: string, by: string): string {
  const pieces = text.split(part);
  if (pieces.length !== 2)
    throw new Error(`expected ${JSON.stringify(part)} once, found it ${pieces.length - 1} times`);
  return pieces.join(by);
}

function digest(parts: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('base64url');
}
