import { accessSync, constants, existsSync, readdirSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { freemem, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { createBypass } from '../aws/no-proxy.ts';
import { passwordsFileIn, rolesWithPassword } from '../console/password.ts';
import type { DiskFacts, FolderFacts, PortFacts } from '../operator/doctor/sources.ts';
import { errorText } from '../runtime/errors.ts';
import type { ProxySettings, Settings } from '../runtime/settings.ts';
import { readKey } from '../site-tls/key-file.ts';
import { tlsFolderIn, tlsOptions } from '../site-tls/material.ts';
import { readTlsMaterial } from '../site-tls/site-ca.ts';

/** How long a connection may take, in milliseconds. */
const connectMs = 2500;

/** @returns why no TCP connection can be made; undefined when one can */
export function reaches(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: connectMs });
    const end = (problem: string | undefined) => {
      socket.destroy();
      resolve(problem);
    };
    socket.once('connect', () => end(undefined));
    socket.once('timeout', () => end(`no connection to port ${port} within ${connectMs / 1000} s`));
    socket.once('error', (error) => end(errorText(error)));
  });
}

/** Whether the port for devices is free, or held by a broker with our certificate. */
export async function portFacts(settings: Settings): Promise<PortFacts> {
  const { mqttPort: port, listen } = settings;
  const at = { port, listen };
  if (port === 0) return { ...at, state: 'any' };
  const code = await codeOfListening(port, listen);
  if (code === undefined) return { ...at, state: 'free' };
  if (code === 'EACCES') return { ...at, state: 'not-allowed' };
  if (code === 'EADDRINUSE') return { ...at, state: (await isOurs(settings)) ? 'ours' : 'taken' };
  return { ...at, state: 'no-address' };
}

function codeOfListening(port: number, host: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? 'unknown'));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

async function isOurs(settings: Settings): Promise<boolean> {
  const { mqttPort: port, listen } = settings;
  const host = listen === '0.0.0.0' ? '127.0.0.1' : listen === '::' ? '::1' : listen;
  const served = await fingerprintAt(host, port);
  try {
    const { fingerprint, beside } = readTlsMaterial(tlsOptions(settings));
    return served !== undefined && [fingerprint, beside?.fingerprint].includes(served);
  } catch {
    return false;
  }
}

/** Of the certificate that is served there; nothing is sent beyond the handshake, and nothing trusted. */
function fingerprintAt(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connectTls({ host, port, rejectUnauthorized: false, timeout: connectMs });
    const end = (fingerprint?: string) => {
      socket.destroy();
      resolve(fingerprint);
    };
    socket.once('secureConnect', () => end(socket.getPeerCertificate().fingerprint256));
    socket.once('timeout', () => end());
    socket.once('error', () => end());
  });
}

/**
 * The proxies that the settings name. No text has an address of them, which may hold a password.
 * @param endpoints the URLs that the gateway calls: a proxy that no call goes through is not looked at
 */
export async function proxyFacts({ https, http, except = '' }: ProxySettings, endpoints: readonly string[]) {
  const bypasses = createBypass(except);
  const isUsed = (protocol: string) =>
    endpoints
      .filter((endpoint) => URL.canParse(endpoint))
      .map((endpoint) => new URL(endpoint))
      .some((url) => url.protocol === protocol && !bypasses(url.hostname, Number(url.port) || portOf(protocol)));
  const named = [
    ['HTTPS_PROXY', https, isUsed('https:')],
    ['HTTP_PROXY', http, isUsed('http:')],
  ] as const;
  return Promise.all(
    named.flatMap(([setting, text, used]) => {
      if (text === undefined) return [];
      return [used ? proxyFact(setting, text) : { setting, unused: true as const }];
    }),
  );
}

const portOf = (protocol: string): number => (protocol === 'https:' ? 443 : 80);

async function proxyFact(setting: string, text: string): Promise<{ setting: string; problem?: string; cure?: string }> {
  const whole = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(whole))
    return { setting, problem: 'it is no address of a proxy', cure: `write http://host:3128 into ${setting}` };
  const { hostname, port, protocol } = new URL(whole);
  const problem = await reaches(hostname.replace(/^\[|\]$/g, ''), Number(port) || portOf(protocol));
  return problem === undefined ? { setting } : { setting, problem: `it cannot be reached (${problem})` };
}

/** The path itself, or where it will be made: its nearest parent that is there. */
function nearestThere(path: string): string {
  const whole = resolve(path);
  return statOf(whole) !== undefined ? whole : nearestThere(dirname(whole));
}

export function diskFacts({ dataDir, auditDir }: Settings): DiskFacts[] {
  const found = new Map<string, DiskFacts>();
  for (const path of [dataDir, auditDir]) {
    const there = nearestThere(path);
    const { bavail, blocks, bsize } = statfsSync(there);
    const device = String(statSync(there).dev);
    if (!found.has(device)) found.set(device, { path, freeBytes: bavail * bsize, totalBytes: blocks * bsize });
  }
  return [...found.values()];
}

/**
 * Of the container or the systemd unit where it has a limit, else of the machine. A group lies where /proc/self/cgroup says (below the mount only where
 * the container sees the groups of its host), and the tightest limit on the way up holds. cgroups(7), versions 2 and 1
 */
export function memoryFacts(mount = '/sys/fs/cgroup', ownGroup = '/proc/self/cgroup'): MemoryFacts {
  const limited = groupFolders(mount, textOf(ownGroup))
    .map(memoryOfGroup)
    .filter((facts) => facts !== undefined)
    .filter(({ totalBytes }) => totalBytes < totalmem());
  const [tightest] = limited.toSorted((one, other) => one.freeBytes - other.freeBytes);
  if (tightest !== undefined) return tightest;
  const available = Number(/^MemAvailable: +(\d+) kB$/m.exec(textOf('/proc/meminfo'))?.[1] ?? 0) * 1024;
  return { totalBytes: totalmem(), freeBytes: available || freemem() };
}

type MemoryFacts = { readonly totalBytes: number; readonly freeBytes: number };

/** Where limits of memory may stand: `0::/path` of version 2, `4:memory:/path` of version 1, each with its parents. */
function groupFolders(mount: string, groups: string): string[] {
  const lines = groups.split('\n').map((line) => line.split(':'));
  return lines.flatMap(([, controllers = '', path = '']) => {
    if (controllers !== '' && !controllers.split(',').includes('memory')) return [];
    const steps = path.split('/').filter((step) => step !== '' && step !== '..');
    const base = controllers === '' ? mount : join(mount, 'memory');
    return [...steps, ''].map((_, index) => join(base, ...steps.slice(0, index)));
  });
}

function memoryOfGroup(folder: string): MemoryFacts | undefined {
  const limit = numberIn(join(folder, 'memory.max')) ?? numberIn(join(folder, 'memory.limit_in_bytes'));
  const used = numberIn(join(folder, 'memory.current')) ?? numberIn(join(folder, 'memory.usage_in_bytes'));
  if (limit === undefined || used === undefined) return undefined;
  // file pages are given back when others need them
  const cached = Number(/^(?:total_)?inactive_file (\d+)$/m.exec(textOf(join(folder, 'memory.stat')))?.[1] ?? 0);
  return { totalBytes: limit, freeBytes: Math.max(0, limit - used + cached) };
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function numberIn(file: string): number | undefined {
  const text = textOf(file).trim();
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** As Docker and Podman mark it. */
export const inContainer = (): boolean => ['/.dockerenv', '/run/.containerenv'].some((file) => existsSync(file));

/** As systemd-timesyncd says it, where that keeps the clock. systemd-timesyncd.service(8) */
export function timeIsSynchronized(folder = '/run/systemd/timesync'): boolean | undefined {
  return existsSync(folder) ? existsSync(join(folder, 'synchronized')) : undefined;
}

/** The folders that the parts write, and the keys in them. One that is not there yet is made by a start. */
export function folderFacts({ dataDir, auditDir, tls, gatewayCertificate }: Settings): FolderFacts[] {
  const folder = tlsFolderIn(dataDir);
  const keys = existsSync(folder)
    ? readdirSync(folder).filter((name) => name.endsWith('.key') || name.endsWith('.pem'))
    : [];
  return [
    folderFact(dataDir, 'the data folder', 0o700),
    ...(auditDir.startsWith(`${dataDir}/`) && !existsSync(auditDir)
      ? []
      : [folderFact(auditDir, 'the audit trail', 0o700)]),
    ...(existsSync(folder) ? [folderFact(folder, 'the folder of certificates and keys', 0o700)] : []),
    ...['redis', 'console']
      .map((name) => join(dataDir, name))
      .filter((path) => existsSync(path))
      .map((path) => folderFact(path, 'a folder of the gateway', 0o700)),
    ...keys.map((name) => keyFact(join(folder, name))),
    passwordsFact(dataDir),
    // its group may read a key that the operator gives
    ...(tls === undefined ? [] : [folderFact(tls.keyFile, 'a key', 0o640, false)]),
    // by which this gateway gets its AWS credentials (CVM_ROLE_ALIAS)
    ...(existsSync(gatewayCertificate.keyFile) ? [folderFact(gatewayCertificate.keyFile, 'a key', 0o640, false)] : []),
  ];
}

function folderFact(path: string, what: string, wanted: number, written = true): FolderFacts {
  const of = { path, what, wanted };
  const found = statOf(path);
  if (found === undefined) return { ...of, ...(isFolder(wanted) ? whereItIsMade(path) : missing) };
  const mode = found.mode & 0o777;
  if (isFolder(wanted) && !found.isDirectory()) return { ...of, state: 'no-folder', mode };
  const own = process.getuid?.();
  if (written && own !== undefined && own !== 0 && found.uid !== own) return { ...of, state: 'of-another-user', mode };
  const hindrance = written ? hindranceOfWriting(path) : undefined;
  if (hindrance !== undefined) return { ...of, state: hindrance, mode };
  return { ...of, state: (mode & 0o777 & ~wanted) === 0 ? 'good' : 'open-to-others', mode };
}

/** A key of the gateway's own, which a start reads. */
function keyFact(path: string): FolderFacts {
  const fact = folderFact(path, 'a key', 0o600);
  return fact.state === 'good' && path.endsWith('.key') && !isUsable(() => readKey(path))
    ? { ...fact, state: 'damaged' }
    : fact;
}

function passwordsFact(dataDir: string): FolderFacts {
  const fact = folderFact(passwordsFileIn(dataDir), 'the passwords of the console', 0o600);
  return fact.state === 'good' && !isUsable(() => rolesWithPassword(dataDir)) ? { ...fact, state: 'damaged' } : fact;
}

function isUsable(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch {
    return false;
  }
}

const missing = { state: 'missing', mode: 0 } as const;

/** By the right to enter it, which a file has not. */
const isFolder = (wanted: number) => (wanted & 0o100) !== 0;

/** A start makes a folder that is missing, if it can. */
function whereItIsMade(path: string): Pick<FolderFacts, 'state' | 'mode'> & { readonly path?: string } {
  const parent = nearestThere(dirname(path));
  const found = statSync(parent);
  const mode = found.mode & 0o777;
  if (!found.isDirectory()) return { path: parent, state: 'no-folder', mode };
  const state = hindranceOfWriting(parent);
  return state === undefined ? missing : { path: parent, state, mode };
}

/** Undefined also where a part of the path is a file. */
function statOf(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw error;
  }
}

function hindranceOfWriting(path: string): 'not-writable' | 'read-only-disk' | undefined {
  try {
    accessSync(path, constants.W_OK);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS' ? 'read-only-disk' : 'not-writable';
  }
}
