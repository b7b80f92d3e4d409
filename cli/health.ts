import { statSync } from 'node:fs';
import { connect } from 'node:net';
import { Command, InvalidArgumentError } from 'commander';

type Options = { port?: number; host: string; url?: string; file?: string; maxAge: number };

const patienceMs = 3000;

/** For container health checks: the image has neither curl nor a shell worth the name. */
export function healthCommand(): Command {
  return new Command('health')
    .description('whether a part is well: exit status 0, or 1 with the reason')
    .option('--port <n>', 'a TCP connection to this port succeeds', number)
    .option('--host <name>', 'with --port', '127.0.0.1')
    .option('--url <url>', 'this address answers with status 200')
    .option('--file <path>', 'this file was touched lately')
    .option('--max-age <seconds>', 'with --file', number, 30)
    .action(async (options: Options, command: Command) => {
      const reason = await ill(options, command);
      console.log(reason ?? 'ok');
      process.exitCode = reason === undefined ? 0 : 1;
    });
}

async function ill({ port, host, url, file, maxAge }: Options, command: Command): Promise<string | undefined> {
  try {
    if (port !== undefined) return await connects(host, port);
    if (url !== undefined) return await answers(url);
    if (file !== undefined) return fresh(file, maxAge);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return command.error('give --port, --url or --file', { exitCode: 2 });
}

function connects(host: string, port: number): Promise<undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: patienceMs });
    socket
      .once('connect', () => resolve(undefined))
      .once('error', reject)
      .once('timeout', () => reject(new Error(`${host}:${port} does not answer`)));
    socket.once('connect', () => socket.destroy());
  });
}

async function answers(url: string): Promise<string | undefined> {
  const { status } = await fetch(url, { signal: AbortSignal.timeout(patienceMs) });
  return status === 200 ? undefined : `${url} answers with status ${status}`;
}

function fresh(file: string, maxAgeSeconds: number): string | undefined {
  const age = (Date.now() - statSync(file).mtimeMs) / 1000;
  return age <= maxAgeSeconds ? undefined : `${file} was last touched ${age.toFixed(0)} s ago`;
}

function number(text: string): number {
  const value = Number(text.replace(/s$/, ''));
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError('it must be a number.');
  return value;
}
