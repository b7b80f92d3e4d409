// The one place that talks to the server.
import { hearTime } from './clock.js';
import { createStore } from './store.js';
import { t } from './texts.js';

/** @typedef {import('./types.d.ts').Session} Session */

/** The person who is signed in; undefined when there is none. */
export const session = createStore(/** @type {Session | undefined} */ (undefined));
/** Whether the session ended by itself, and who had it: what was typed is kept for that person. @type {{ person: string | undefined }} */
export const ended = { person: undefined };

const deadline = 20_000;
/** a file of a hundred thousand devices takes minutes to enrol */
const longDeadline = 15 * 60_000;

/** What a person is told: what happened, and what to do about it. */
export class ApiError extends Error {
  /**
   * @param {number} status of HTTP; 0 where no answer came
   * @param {string} code
   * @param {string} message
   * @param {string} [cure]
   */
  constructor(status, code, message, cure) {
    super(message);
    this.status = status;
    this.code = code;
    this.cure = cure;
  }
}

/** Whether the same call may succeed a moment later: no answer came, too many calls, or a fault of the gateway, as while it starts anew. @param {any} error */
export const mayPass = ({ status }) => status === 0 || status === 429 || status >= 500;

/** Milliseconds until a page asks again: not all pages in the same instant. */
export const retryPause = () => 4000 + Math.random() * 2000;

/**
 * @param {string} path below /api/v1, each part already encoded
 * @param {Record<string, string | number | undefined>} [query]
 * @param {AbortSignal} [signal]
 */
export function get(path, query = {}, signal) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== undefined && value !== '') search.set(name, `${value}`);
  return call('GET', search.size === 0 ? path : `${path}?${search}`, signal === undefined ? {} : { signal });
}

/**
 * @param {string} path
 * @param {unknown} [body] JSON; a text is sent as CSV
 */
export function post(path, body) {
  if (typeof body === 'string') return call('POST', path, { body, type: 'text/csv', timeout: longDeadline });
  return call('POST', path, { body: JSON.stringify(body ?? {}), type: 'application/json', timeout: longDeadline });
}

/** @param {string} path */
export const remove = (path) => call('DELETE', path, {});

/**
 * @param {string} method
 * @param {string} path
 * @param {{ body?: string, type?: string, signal?: AbortSignal, timeout?: number }} options
 * @returns {Promise<any>}
 */
async function call(method, path, { body, type, signal, timeout = deadline }) {
  const timer = AbortSignal.timeout(timeout);
  /** @type {Record<string, string>} */
  const headers = { accept: 'application/json' };
  if (type !== undefined) headers['content-type'] = type;
  const csrf = session.get()?.csrf;
  if (method !== 'GET' && csrf !== undefined) headers['x-csrf-token'] = csrf;
  let response;
  try {
    response = await fetch(`api/v1${path}`, {
      method,
      headers,
      signal: signal === undefined ? timer : AbortSignal.any([signal, timer]),
      credentials: 'same-origin',
      cache: 'no-store',
      ...(body === undefined ? {} : { body }),
    });
    hearTime(response.headers.get('date'));
  } catch (error) {
    if (signal?.aborted) throw error;
    // a change may have reached the gateway although no answer came back: it is not sent again without its person
    if (method !== 'GET') throw new ApiError(0, 'Unreachable', t.errors.noAnswer, t.errors.noAnswerCure);
    throw new ApiError(0, 'Unreachable', t.errors.unreachable, t.errors.unreachableCure);
  }
  return await readAnswer(response);
}

/** @param {Response} response */
async function readAnswer(response) {
  const text = await response.text();
  let answer;
  try {
    answer = text === '' ? undefined : JSON.parse(text);
  } catch {
    answer = undefined;
  }
  if (response.ok) return answer;
  const { code = `${response.status}`, message, cure } = answer?.error ?? {};
  if (response.status === 401 && session.get() !== undefined) {
    ended.person = session.get()?.person;
    session.set(undefined);
  }
  throw new ApiError(
    response.status,
    code,
    message ?? t.errors.answered(response.status),
    cure ?? (response.status >= 500 ? t.errors.brokenCure : undefined),
  );
}
