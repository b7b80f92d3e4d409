import { spawn } from 'node:child_process';

/** Connects by `openssl s_client` and ends. @returns what it prints of its handshake */
export function opensslClient(port: number, args: readonly string[]): Promise<string> {
  const client = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, ...args], { timeout: 60_000 });
  let printed = '';
  client.stdout.on('data', (data) => {
    printed += data;
  });
  client.stdin.on('error', () => {}).end();
  return new Promise((resolve, reject) => client.once('close', () => resolve(printed)).once('error', reject));
}
