// Part of `npm run build`: the console's pages run as they stand, so they are copied beside the compiled server.
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const folder = join(import.meta.dirname, '../dist/console/web');
rmSync(folder, { recursive: true, force: true });
cpSync(join(import.meta.dirname, 'web'), folder, { recursive: true });
