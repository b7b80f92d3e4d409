import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '../support/network.ts';

const run = promisify(execFile);

/** The first line that `java -version` prints; undefined where there is no Java. */
export async function findJava(): Promise<string | undefined> {
  try {
    return (await run('java', ['-version'])).stderr.split('\n')[0];
  } catch {
    return undefined;
  }
}

const patienceMs = 60_000;

/** Starts DynamoDB Local, which keeps its tables in memory, on a free port of 127.0.0.1. */
export async function startDynamoDbLocal(emulator: string) {
  const port = await freePort();
  const argv = ['-Djava.library.path=DynamoDBLocal_lib', '-jar', join(emulator, 'DynamoDBLocal.jar')];
  const child = spawn('java', [...argv, '-inMemory', '-disableTelemetry', '-port', String(port)], {
    cwd: emulator,
    stdio: 'ignore',
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', ({ message }) => resolve(message)).once('exit', (status) => resolve(`status ${status}`));
  });
  const url = `http://127.0.0.1:${port}`;
  const gone = ended.then((how) => Promise.reject(new Error(`DynamoDB Local did not start: it ended with ${how}`)));
  gone.catch(() => {});
  await Promise.race([gone, untilItAnswers(url)]);
  return {
    url,
    async close(): Promise<void> {
      child.kill();
      await ended;
    },
  };
}

async function untilItAnswers(url: string): Promise<void> {
  for (const end = Date.now() + patienceMs; Date.now() < end; await sleep(200)) {
    // any answer will do: a call without a signature is refused
    if (await fetch(url).then(Boolean, () => false)) return;
  }
  throw new Error(`DynamoDB Local did not answer within ${patienceMs / 1000} s`);
}
