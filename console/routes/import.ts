import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type DeviceRow, readDeviceRows } from '../../operator/csv.ts';
import { checkedRows, type ImportOutcome, importDevices } from '../../operator/import.ts';
import { alreadyThere, type ListFault, listCures, UnreadableList } from '../../operator/list-faults.ts';
import type { ConsoleDeps } from '../deps.ts';
import { invalid } from '../outcomes.ts';
import { costOfReading } from '../pace.ts';
import { Problem } from '../problem.ts';
import { createPlaces, oneAtATime } from '../turns.ts';

/** Of a file: a hundred thousand rows have some 4 MB. One file at a time is read. */
const [mostBytes, mostRows, mostWaiting] = [16 * 1024 * 1024, 100_000, 1];

/** Files that are being received or read: each is in memory as a whole, several times over while it is read. */
const mostFiles = 2;

/** Bad rows that are told one by one: a file of something else has nothing but bad rows. */
const mostBad = 1000;

/** Rows that are looked for in the directory at a time. */
const batch = 500;

const bad = z.object({ line: z.int(), serial: z.string().optional(), reason: z.string(), cure: z.string() });
type Bad = z.infer<typeof bad>;

const csv = z
  .string()
  .describe('CSV: serial[,token][,site][,policy][,thing_type][,thing_group][,claim_group], with a header line');

/** Enrols the devices of a file, with a look at it before. */
export function importRoutes(
  app: FastifyInstance,
  { operator, directory }: Pick<ConsoleDeps, 'operator' | 'directory'>,
): void {
  app.addContentTypeParser('text/csv', { parseAs: 'string', bodyLimit: mostBytes }, (_request, body, done) =>
    done(null, body),
  );
  const files = createPlaces(mostFiles);
  const options = {
    config: { access: 'operator', cost: costOfReading },
    bodyLimit: mostBytes,
    // before the body is read, and until the answer is sent or the browser has gone
    onRequest: async (_request: FastifyRequest, reply: FastifyReply) => void reply.raw.once('close', files.take()),
  } as const;

  const preview = oneAtATime(mostWaiting, (text: string) => previewOf(text, directory));
  app.post<{ Body: string }>(
    '/devices/import/preview',
    {
      ...options,
      schema: {
        operationId: 'previewImport',
        summary: 'Look at a file of devices without enrolling them',
        consumes: ['text/csv'],
        body: csv,
        response: {
          200: z.object({
            rows: z.int(),
            good: z.int(),
            bad: z.array(bad).describe(`the first ${mostBad}`),
            badRows: z.int(),
          }),
        },
      } as object,
    },
    async ({ body }) => preview(body),
  );

  const enrolAll = oneAtATime(mostWaiting, (request: FastifyRequest<{ Body: string }>) => importOf(request, operator));
  app.post<{ Body: string }>(
    '/devices/import',
    {
      ...options,
      schema: {
        operationId: 'importDevices',
        summary: 'Enrol the devices of a file. Each token is shown this once',
        consumes: ['text/csv'],
        body: csv,
        response: {
          200: z.object({
            enrolled: z.array(z.object({ serial: z.string(), token: z.string(), site: z.string().optional() })),
            bad: z.array(bad),
            badRows: z.int(),
            stopped: z.string().optional().describe('why it ended early; those above are enrolled'),
            unannounced: z.string().optional(),
          }),
        },
      } as object,
    },
    async (request) => enrolAll(request),
  );
}

async function previewOf(text: string, directory: ConsoleDeps['directory']) {
  const result = { rows: 0, good: 0, bad: [] as Bad[], badRows: 0 };
  const say = (row: Bad) => {
    result.badRows++;
    if (result.bad.length < mostBad) result.bad.push(row);
  };
  let waiting: DeviceRow[] = [];
  const look = async () => {
    const there = await directory.known(waiting.map(({ request }) => request.serial));
    for (const { line, request } of waiting)
      if (there.has(request.serial)) say(badRow(line, request.serial, alreadyThere(request.serial)));
      else result.good++;
    waiting = [];
  };
  try {
    for await (const row of checkedRows(rowsOf(text))) {
      result.rows++;
      if (row.fault !== undefined) say(badRow(row.line, row.request.serial, row.fault));
      else if (waiting.push(row) >= batch) await look();
    }
    await look();
  } catch (error) {
    throw unreadable(error);
  }
  result.bad.sort((one, other) => one.line - other.line);
  return result;
}

function badRow(line: number, serial: string, { reason, cure }: ListFault): Bad {
  return { line, ...(serial === '' ? {} : { serial }), reason, cure };
}

/** @throws Problem for a file of too many rows */
async function* rowsOf(text: string): AsyncGenerator<DeviceRow> {
  let rows = 0;
  for await (const row of readDeviceRows(Readable.from([Buffer.from(text)]))) {
    if (++rows > mostRows)
      throw new Problem(
        413,
        'PayloadTooLarge',
        `the file has more than ${mostRows} rows`,
        'cvm devices import takes files of any length',
      );
    yield row;
  }
}

function unreadable(error: unknown): unknown {
  if (error instanceof UnreadableList) return invalid(error.message, error.cure);
  // a file that is no text
  return error instanceof Error && error.constructor === Error ? invalid(error.message, listCures['no-text']) : error;
}

async function importOf({ body, caller, socket }: FastifyRequest<{ Body: string }>, operator: ConsoleDeps['operator']) {
  const tokens = new Map<string, string>();
  const sites = new Map<string, string>();
  const enrolled: { serial: string; token: string; site?: string }[] = [];
  const result = { enrolled, bad: [] as Bad[], badRows: 0 };
  // a browser that has gone would never see the tokens that are still to be made
  async function* whileWanted() {
    for await (const row of rowsOf(body)) {
      if (socket.destroyed) throw new Error('the browser has gone');
      if (row.request.site !== undefined) sites.set(row.request.serial, row.request.site);
      yield row;
    }
  }
  const kept = {
    find: async (serial: string) => tokens.get(serial),
    async add(serial: string, token: string) {
      tokens.set(serial, token);
    },
  };
  const onRow = (line: number, outcome: ImportOutcome) => {
    const { serial } = outcome;
    if (outcome.outcome === 'enrolled') {
      const site = sites.get(serial);
      enrolled.push({ serial, token: outcome.token, ...(site === undefined ? {} : { site }) });
      return;
    }
    result.badRows++;
    const fault = outcome.outcome === 'invalid' ? outcome : alreadyThere(serial);
    if (result.bad.length < mostBad) result.bad.push(badRow(line, serial, fault));
  };
  try {
    const { unannounced } = await importDevices(whileWanted(), operator(caller?.person ?? ''), {
      defaults: {},
      tokens: kept,
      onRow,
    });
    return { ...result, ...(unannounced === undefined ? {} : { unannounced }) };
  } catch (error) {
    // the tokens of those that are enrolled stand nowhere else
    if (enrolled.length === 0) throw unreadable(error);
    return { ...result, stopped: error instanceof Error ? error.message : String(error) };
  }
}
