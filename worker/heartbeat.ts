import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Milliseconds: between two beats, and before the first one, when the worker has had time to connect. */
const [everyMs, firstMs] = [5000, 500];

/** Touches `<dataDir>/worker.alive` while the worker reaches Redis, for container health checks: it has no port to ask. */
export function keepHeartbeat(dataDir: string, alive: () => Promise<boolean>) {
  const file = join(dataDir, 'worker.alive');
  mkdirSync(dataDir, { recursive: true });
  const beat = async () => {
    if (await alive()) writeFileSync(file, `${Date.now()}\n`);
  };
  const first = setTimeout(() => void beat(), firstMs);
  const timer = setInterval(() => void beat(), everyMs);
  return {
    name: 'heartbeat',
    async close() {
      clearTimeout(first);
      clearInterval(timer);
      rmSync(file, { force: true });
    },
  };
}
