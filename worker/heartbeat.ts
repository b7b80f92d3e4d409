import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Milliseconds: between two beats, and before the first one, when the worker has had time to connect. */
const [everyMs, firstMs] = [5000, 500];

/** Touches `<dataDir>/worker.alive` while the worker reaches Redis, for container health checks: it has no port to ask. */
export function keepHeartbeat(dataDir: string, alive: () => Promise<boolean>) {
  const file = join(dataDir, 'worker.alive');
  mkdirSync(dataDir, { recursive: true });
  let closed = false;
  const beat = async () => {
    if ((await alive()) && !closed) writeFileSync(file, `${Date.now()}\n`);
  };
  // where the file cannot be written, its age says so: a full disk must not end the worker
  const tryToBeat = () => void beat().catch(() => {});
  const first = setTimeout(tryToBeat, firstMs);
  const timer = setInterval(tryToBeat, everyMs);
  return {
    name: 'heartbeat',
    async close() {
      closed = true;
      clearTimeout(first);
      clearInterval(timer);
      rmSync(file, { force: true });
    },
  };
}
