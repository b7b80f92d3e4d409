import { createReadStream, type WriteStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { parse } from 'csv-parse';
import { announce, type EnrolContext, type EnrolOptions, enrolment, withoutGateways } from '../operator/enrolment.ts';
import { isSerial, serialRule } from '../protocol/serial.ts';
import { makeToken, tokenFault } from '../protocol/token.ts';

export type ImportOptions = EnrolOptions & { out?: string; json?: boolean };
export type ImportSummary = { rows: number; enrolled: number; bad: number; tokensMade: number; tokenFile?: string };

/** Rows on their way to the table at the same time; so many, and no more, are in memory. */
const inFlight = 64;
/** Gateways are told of so many devices at a time. */
const announced = 500;
const columns = ['serial', 'token', 'policy', 'thing_type', 'thing_group'] as const;

type Row = { line: number; fields: Partial<Record<(typeof columns)[number], string>>; fault?: string };

/**
 * Enrols the devices of a CSV file of any length. Rows that cannot be enrolled are reported with their line, the others
 * go on. A token that we make is written to the token file *before* its device is enrolled: whatever happens, there is
 * no enrolled device whose token nobody knows. A line of the token file without an enrolled device is harmless.
 */
export async function importDevices(
  context: EnrolContext,
  file: string,
  options: ImportOptions,
): Promise<ImportSummary> {
  const [registry, gateways] = [await context.registry(), await context.gateways()];
  const enrolled: string[] = [];
  const tokens = tokenFile(options.out ?? `${file}.tokens.csv`, context);
  const summary: ImportSummary = { rows: 0, enrolled: 0, bad: 0, tokensMade: 0 };
  const progress = showProgress(summary);
  const bad = (line: number, reason: string) => {
    summary.bad++;
    console.error(`line ${line}: ${reason}`);
    process.exitCode = 1;
  };

  // a serial that stands twice in the file must not get two tokens in the token file
  const underWay = new Set<string>();

  async function take(row: Row): Promise<void> {
    const serial = row.fields.serial ?? '';
    if (underWay.has(serial)) return bad(row.line, `${JSON.stringify(serial)} stands in the file twice`);
    underWay.add(serial);
    await takeOnce(row).finally(() => underWay.delete(serial));
  }

  async function takeOnce({ line, fields, fault }: Row): Promise<void> {
    const serial = fields.serial ?? '';
    const given = fields.token || undefined;
    const reason =
      fault ?? (isSerial(serial) ? undefined : serialRule) ?? (given === undefined ? undefined : tokenFault(given));
    if (reason !== undefined) return bad(line, reason);
    const token = given ?? makeToken();
    if (given === undefined) {
      if ((await registry.find(serial)) !== undefined)
        return bad(line, `${serial} is enrolled already; nothing was changed`);
      await tokens.write(`${serial},${token}\n`);
      summary.tokensMade++;
    }
    const { policy = options.policy, thing_type = options.thingType, thing_group = options.thingGroup } = fields;
    const extra = {
      ...(options.expires === undefined ? {} : { expires: options.expires }),
      ...(policy ? { policy } : {}),
      ...(thing_type ? { thingType: thing_type } : {}),
      ...(thing_group ? { thingGroup: thing_group } : {}),
    };
    if (await registry.enrol(enrolment(serial, token, extra, { now: context.now(), gateways }))) {
      summary.enrolled++;
      enrolled.push(serial);
      context.audit().record('enrolled', { serial });
      if (enrolled.length >= announced) await announce(context, enrolled.splice(0));
    } else bad(line, `${serial} is enrolled already; nothing was changed`);
  }

  try {
    await forEachBounded(readRows(file), inFlight, async (row) => {
      summary.rows++;
      try {
        await take(row);
      } catch (error) {
        throw new Error(
          `stopped near line ${row.line}: ${error instanceof Error ? error.message : error}. Run the import again: rows that are enrolled already are reported and left as they are.`,
        );
      }
    });
  } finally {
    await announce(context, enrolled);
    progress.end();
    const name = await tokens.close();
    if (name !== undefined) summary.tokenFile = name;
  }
  if (summary.enrolled > 0 && gateways.length === 0) console.error(withoutGateways);
  report(context, summary, options.json ?? false);
  return summary;
}

/** Rows with the line on which each begins. A row that is not valid CSV comes with its fault. */
async function* readRows(file: string): AsyncIterable<Row> {
  const parser = createReadStream(file).pipe(
    parse({ bom: true, trim: true, skip_empty_lines: true, relax_column_count: true, relax_quotes: true, info: true }),
  );
  let header: readonly string[] | undefined;
  for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
    if (header === undefined) {
      const named = record.map((name) => name.toLowerCase());
      header = named.includes('serial') ? named : ['serial'];
      if (named.includes('serial')) {
        const unknown = named.filter((name) => !columns.includes(name as (typeof columns)[number]));
        if (unknown.length > 0)
          throw new Error(
            `line 1: unknown column ${unknown.map((name) => JSON.stringify(name)).join(', ')}; known are ${columns.join(', ')}`,
          );
        continue;
      }
    }
    const fields = Object.fromEntries(header.map((name, index) => [name, record[index] ?? '']));
    const fault =
      record.length === header.length ? {} : { fault: `has ${record.length} columns instead of ${header.length}` };
    yield { line: info.lines, fields, ...fault };
  }
}

/** Runs `act` on every item, at most `limit` at a time; the first failure ends it, after those under way have ended. */
async function forEachBounded<T>(
  items: AsyncIterable<T>,
  limit: number,
  act: (item: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;
  for await (const item of items) {
    const one = act(item)
      .catch((error: unknown) => {
        failure ??= { error };
      })
      .finally(() => running.delete(one));
    running.add(one);
    if (running.size >= limit) await Promise.race(running);
    if (failure !== undefined) break;
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure.error;
}

/** Opened at the first token, and only if it does not exist: tokens of an earlier import are never overwritten. */
function tokenFile(path: string, context: EnrolContext) {
  let opening: Promise<{ handle: FileHandle; stream: WriteStream }> | undefined;
  const start = async () => {
    const handle = await open(path, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'EEXIST'
        ? new Error(`${path} exists already; name another file with --out, tokens in it are not overwritten`)
        : error;
    });
    const stream = handle.createWriteStream();
    stream.write('serial,token\n');
    return { handle, stream };
  };
  return {
    async write(line: string): Promise<void> {
      if (path === '-') return context.write(line.trimEnd());
      opening ??= start();
      const { stream } = await opening;
      await new Promise<void>((resolve, reject) => stream.write(line, (error) => (error ? reject(error) : resolve())));
    },
    async close(): Promise<string | undefined> {
      const opened = await opening?.catch(() => undefined);
      if (opened === undefined) return undefined;
      await new Promise<void>((resolve) => opened.stream.end(resolve));
      return path;
    },
  };
}

function showProgress(summary: ImportSummary) {
  const start = performance.now();
  const terminal = process.stderr.isTTY;
  const print = () => {
    const rate = summary.rows / Math.max(0.001, (performance.now() - start) / 1000);
    process.stderr.write(
      `${terminal ? '\r' : ''}${summary.rows} rows, ${summary.enrolled} enrolled, ${summary.bad} bad, ${rate.toFixed(0)} rows/s${terminal ? '  ' : '\n'}`,
    );
  };
  const timer = setInterval(print, terminal ? 250 : 10_000);
  return {
    end(): void {
      clearInterval(timer);
      if (terminal) {
        print();
        process.stderr.write('\n');
      }
    },
  };
}

function report(context: EnrolContext, summary: ImportSummary, json: boolean): void {
  if (json) {
    context.write(JSON.stringify(summary));
    return;
  }
  context.write(`${summary.rows} rows: ${summary.enrolled} enrolled, ${summary.bad} bad`);
  if (summary.tokenFile !== undefined)
    context.write(`${summary.tokensMade} tokens were made; they are in ${summary.tokenFile} and nowhere else`);
}
