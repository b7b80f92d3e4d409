import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const everyMs = 5000;

/** Touches `<dataDir>/worker.alive` while the worker reaches Redis, for container health checks: it has no port to ask. */
export function keepHeartbeat(dataDir: string, alive: () => Promise<boolean>) {
  const file = join(dataDir, 'worker.alive');
  mkdirSync(dataDir, { recursive: true });
  const beat = async () => {
    if (await alive()) writeFileSync(file, `${Date.now()}\n`);
  };
  const timer = setInterval(() => void beat(), everyMs);
  setTimeout(() => void beat(), 500).unref();
  return {
    name: 'heartbeat',
    async close() {
      clearInterval(timer);
      rmSync(file, { force: true });
    },
  };
}
