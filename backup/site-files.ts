import { lstatSync, readdirSync, statSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { isThere } from '../runtime/is-there.ts';
import type { Settings } from '../runtime/settings.ts';
import { restoringFolder } from '../site-tls/data-format.ts';

/** Where the files of a site are: absolute paths. */
export type SitePlaces = {
  readonly dataDir: string;
  readonly auditDir: string;
  readonly templatesDir: string;
  /** the file with the settings; undefined: it has none, or is left as it is */
  readonly envFile: string | undefined;
  /** files that settings name, by the name of the setting */
  readonly named: Readonly<Record<string, string>>;
  readonly logFile: string | undefined;
};

/** A file of a site. `path`: its name in a backup, with `/` on every system. */
export type SiteFile = { readonly path: string; readonly file: string; readonly mode: number; readonly size: number };

/**
 * What of the data folder is in no backup: it is made anew (the embedded Redis is filled from the table), is of this moment, or belongs to
 * the stand-in and to trials. All else is kept, so that what a later version adds is not forgotten.
 */
const leftOut = ['redis', 'aws-local', 'certify', 'gateway.log', restoringFolder];
const ofTheMoment = /(^lock(\.\d+)?$|\.new$|\.part$|\.alive$|\.trouble$)/;

export function placesOf(settings: Settings, envFile: string | undefined): SitePlaces {
  const { dataDir, auditDir, templatesDir, logFile, tls, claims, gatewayCertificate, rootCaFile, monitoring } =
    settings;
  const named = {
    CVM_TLS_CERT: tls?.certFile,
    CVM_TLS_KEY: tls?.keyFile,
    CVM_CLAIMS_CA: claims.caFile,
    CVM_ROLE_ALIAS_CERT: gatewayCertificate.certFile,
    CVM_ROLE_ALIAS_KEY: gatewayCertificate.keyFile,
    CVM_ROOT_CA: rootCaFile,
    CVM_METRICS_TOKEN_FILE: monitoring.tokenFile,
    CVM_REDIS_PASSWORD_FILE: settings.redisPasswordFile,
    CVM_REDIS_SENTINEL_PASSWORD_FILE: settings.redisSentinelPasswordFile,
  };
  const outside = Object.entries(named).filter(([, file]) => file !== undefined && !isWithin(dataDir, file));
  return {
    dataDir,
    auditDir,
    templatesDir,
    envFile,
    logFile,
    named: Object.fromEntries(outside) as Record<string, string>,
  };
}

/** The files of a site that a backup keeps, settings first. @throws where one cannot be read */
export function siteFiles(places: SitePlaces, { audit }: { readonly audit: boolean }): SiteFile[] {
  const { dataDir, auditDir, templatesDir, envFile, named, logFile } = places;
  const isKept = (file: string, isTop: boolean) => {
    const name = file.slice(file.lastIndexOf(sep) + 1);
    return !(isTop && leftOut.includes(name)) && !ofTheMoment.test(name) && file !== auditDir && file !== logFile;
  };
  const ofData = filesBelow(dataDir, isKept);
  return [
    ...(envFile !== undefined && isThere(envFile) ? [siteFile('settings', envFile)] : []),
    ...ofData.map((file) => siteFile(`data/${slashed(relative(dataDir, file))}`, file)),
    ...(isWithin(dataDir, templatesDir) ? [] : below('templates', templatesDir)),
    ...Object.entries(named).flatMap(([name, file]) => (isThere(file) ? [siteFile(`named/${name}`, file)] : [])),
    ...(audit ? below('audit', auditDir) : []),
  ];
}

/** Where a file of a backup belongs; undefined for a path that no backup of ours has, or has no place here. */
export function placeOf(path: string, places: SitePlaces): string | undefined {
  if (path === 'settings') return places.envFile;
  const [root = '', ...parts] = path.split('/');
  const isSafe = parts.length > 0 && parts.every((part) => !['', '.', '..'].includes(part) && !/[\\\0]/.test(part));
  if (!isSafe) return undefined;
  if (root === 'named') return parts.length === 1 ? places.named[parts[0] ?? ''] : undefined;
  const folders: Record<string, string> = {
    data: places.dataDir,
    templates: places.templatesDir,
    audit: places.auditDir,
  };
  const folder = Object.hasOwn(folders, root) ? folders[root] : undefined;
  return folder === undefined ? undefined : join(folder, ...parts);
}

const slashed = (path: string) => path.split(sep).join('/');

export const isWithin = (folder: string, file: string): boolean =>
  file === folder || file.startsWith(`${folder}${sep}`);

const below = (root: string, folder: string) =>
  filesBelow(folder, (file) => !ofTheMoment.test(file)).map((file) =>
    siteFile(`${root}/${slashed(relative(folder, file))}`, file),
  );

function siteFile(path: string, file: string): SiteFile {
  // through links: secrets of an orchestrator are such
  const { mode, size } = statSync(file);
  return { path, file, mode: mode & 0o777, size };
}

function filesBelow(folder: string, isKept: (file: string, isTop: boolean) => boolean, isTop = true): string[] {
  if (!isThere(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((name) => join(folder, name))
    .filter((file) => isKept(file, isTop))
    .flatMap((file) => {
      if (lstatSync(file).isDirectory()) return filesBelow(file, isKept, false);
      return statSync(file, { throwIfNoEntry: false })?.isFile() ? [file] : [];
    });
}
