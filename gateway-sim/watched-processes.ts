import { readFileSync } from 'node:fs';

/** What the gateway's processes on this machine have used: CPU since they started in milliseconds, resident memory in bytes. */
export type Usage = { readonly cpuMs: number; readonly rssBytes: number };

/** The kernel tells CPU time in ticks of USER_HZ, which is 100 on every architecture that Node.js runs on. */
const tickMs = 10;

/** Reads processes of this machine from /proc. @returns undefined for each that has ended @throws Error where there is no /proc */
export function usageOf(pid: number): Usage | undefined {
  try {
    // utime and stime are fields 14 and 15; the name, field 2, may have spaces and brackets (proc(5))
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    const rss = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
    return { cpuMs: (Number(fields[11]) + Number(fields[12])) * tickMs, rssBytes: Number(rss) * 1024 };
  } catch {
    return undefined;
  }
}

/** Of all of them together, since it was made. A process that ends keeps what it was last seen with. */
export function watchProcesses(pids: readonly number[], read = usageOf): () => Usage {
  const first = new Map(pids.map((pid) => [pid, read(pid)] as const));
  for (const [pid, usage] of first)
    if (usage === undefined) throw new Error(`no process ${pid} is on this machine, or it has no /proc`);
  const last = new Map(first);
  return () => {
    let [cpuMs, rssBytes] = [0, 0];
    for (const pid of pids) {
      const seen = read(pid);
      last.set(pid, seen ?? { cpuMs: last.get(pid)?.cpuMs ?? 0, rssBytes: 0 });
      cpuMs += (last.get(pid)?.cpuMs ?? 0) - (first.get(pid)?.cpuMs ?? 0);
      rssBytes += last.get(pid)?.rssBytes ?? 0;
    }
    return { cpuMs, rssBytes };
  };
}
