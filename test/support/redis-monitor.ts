import { once } from 'node:events';
import { connect } from 'node:net';

/** `from`: the address of the client, or `lua` for a call of a script. */
export type SeenCommand = { readonly command: string; readonly args: readonly string[]; readonly from: string };

/**
 * Hears every command that a Redis of a test carries out (https://redis.io/docs/latest/commands/monitor/). ioredis 6.0 can, too, and fails where the
 * first of them comes together with the answer to MONITOR.
 */
export async function monitorRedis(url: string, onCommand: (seen: SeenCommand) => void): Promise<() => void> {
  const { hostname, port, username, password } = new URL(url);
  const socket = connect(Number(port), hostname);
  // Latin-1: a text has one character for each byte, wherever a chunk ends
  socket.setEncoding('latin1');
  socket.on('error', () => {});
  let text = '';
  let awaited = password === '' ? 1 : 2;
  const begun = new Promise<void>((resolve, reject) => {
    socket.once('close', () => reject(new Error('Redis ended the connection of MONITOR')));
    socket.on('data', (chunk: string) => {
      const lines = `${text}${chunk}`.split('\r\n');
      text = lines.pop() ?? '';
      for (const line of lines) {
        if (line === '+OK' && --awaited === 0) resolve();
        if (line.startsWith('-')) reject(new Error(`Redis refused MONITOR: ${line}`));
        const seen = seenIn(line);
        if (seen !== undefined) onCommand(seen);
      }
    });
  });
  await once(socket, 'connect');
  if (password !== '') socket.write(`AUTH ${username || 'default'} ${password}\r\n`);
  socket.write('MONITOR\r\n');
  await begun;
  return () => socket.destroy();
}

/** `+1339518083.107412 [0 127.0.0.1:60866] "get" "x"`, with the escapes of C in each argument; those of other bytes stay. */
function seenIn(line: string): SeenCommand | undefined {
  const [, from, said] = /^\+[\d.]+ \[\d+ ([^\]]*)\] (.*)$/s.exec(line) ?? [];
  if (from === undefined || said === undefined) return undefined;
  const [command = '', ...args] = [...said.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, arg = '']) =>
    arg.replace(/\\(["\\])/g, '$1'),
  );
  return { command: command.toLowerCase(), args, from };
}
