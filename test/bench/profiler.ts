import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { join } from 'node:path';

/*
 * Loaded into a broker or worker before its program (`node --import`). SIGUSR2 begins a CPU profile, the next SIGUSR2 writes it. A
 * profile of the whole process (`--cpu-prof`) would show mostly how modules are loaded.
 */
const session = new Session();
let profiling = false;

process.on('SIGUSR2', () => {
  if (profiling) stop();
  else start();
  profiling = !profiling;
});

function start(): void {
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.start');
}

function stop(): void {
  session.post('Profiler.stop', (_error, { profile }) => {
    writeFileSync(join(process.env.BENCH_PROFILES ?? '.', `${process.argv[2]}.cpuprofile`), JSON.stringify(profile));
    session.disconnect();
  });
}
