/** The part of an error that is printed. All else is left out: libraries put requests, commands and sockets into their errors. */
export type DescribedError = {
  readonly name?: string;
  readonly message: string;
  readonly code?: string | number;
  /** what a person does about it */
  readonly cure?: string;
  /** of an HTTP answer */
  readonly status?: number;
  /** by which AWS's support finds the call */
  readonly requestId?: string;
  /** the errors of an AggregateError, the first ones */
  readonly errors?: readonly DescribedError[];
  readonly cause?: DescribedError;
  /** where it was thrown; not for what a service, the network or the operating system says */
  readonly stack?: string;
};

/** Bounds: causes below each other, errors beside each other, characters of a text. */
const [maxDepth, maxErrors, maxLength] = [5, 5, 2000];

type ErrorLike = Partial<Error> & {
  code?: unknown;
  cure?: unknown;
  errors?: unknown;
  syscall?: unknown;
  $metadata?: { httpStatusCode?: unknown; requestId?: unknown };
};

/**
 * Describes whatever was thrown: errors of any library, objects that only look like one, and values that are none. It never
 * throws, and never shows a property that it does not know.
 */
export function describeError(error: unknown, depth = 0): DescribedError {
  try {
    return describe(error, depth);
  } catch {
    return { message: 'an error that cannot be read' };
  }
}

function describe(error: unknown, depth: number): DescribedError {
  if (typeof error !== 'object' || error === null) return { message: shorten(String(error)) };
  const { name, message, code, cure, cause, errors, stack, $metadata } = error as ErrorLike;
  const beside = Array.isArray(errors) && depth < maxDepth ? errors.slice(0, maxErrors) : [];
  const described = beside.map((each) => describeError(each, depth + 1));
  const text = messageOf(message) || described.map((each) => each.message).join('; ') || asText(code);
  const status = $metadata?.httpStatusCode;
  const requestId = $metadata?.requestId;
  const frames = typeof stack === 'string' && !isFromOutside(error) ? framesOf(stack) : '';
  return {
    ...(typeof name === 'string' ? { name: shorten(name) } : {}),
    message: text || `${error.constructor?.name ?? 'object'} without a message`,
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    ...(typeof cure === 'string' ? { cure } : {}),
    ...(typeof status === 'number' ? { status } : {}),
    ...(typeof requestId === 'string' ? { requestId } : {}),
    ...(described.length === 0 ? {} : { errors: described }),
    ...(cause === undefined || depth >= maxDepth ? {} : { cause: describeError(cause, depth + 1) }),
    ...(frames === '' ? {} : { stack: frames }),
  };
}

/**
 * Texts that repeat what was sent. Redis has the arguments of a command that it does not know: with HELLO, the password is one. V8 has a part of
 * what is no JSON: an answer that was cut off may hold a private key.
 */
const echoes: readonly (readonly [RegExp, string])[] = [
  [/(with args beginning with:).*/s, '$1 …'],
  [/, (\.\.\.)?".*"(\.\.\.)? (is not valid JSON)/s, ': the text $3'],
];

function messageOf(message: unknown): string {
  if (typeof message !== 'string') return '';
  return shorten(echoes.reduce((text, [echo, rest]) => text.replace(echo, rest), message));
}

const asText = (code: unknown) => (typeof code === 'string' || typeof code === 'number' ? String(code) : '');

const shorten = (text: string) => (text.length > maxLength ? `${text.slice(0, maxLength)}…` : text);

/** Without the first lines, which repeat the message. */
function framesOf(stack: string): string {
  const frames = stack.split('\n').filter((line) => /^\s+at /.test(line));
  return shorten(frames.map((line) => line.trim()).join('\n'));
}

/** Names of errors by which a library passes on what the other side said or did. */
const ofServices = new Set(['ReplyError', 'MaxRetriesPerRequestError', 'AbortError', 'TimeoutError']);

/** Whether the error comes from the network, a service or the system, and not from a fault in our code: then its stack is of no use. */
function isFromOutside(error: object): boolean {
  const { name, syscall, $metadata, stack } = error as ErrorLike;
  const ofAggregate = 'errors' in error && Array.isArray(error.errors);
  return (
    syscall !== undefined ||
    $metadata !== undefined ||
    ofAggregate ||
    ofServices.has(name ?? '') ||
    isUpstream(name) ||
    (name === 'Error' && isOfRedisClient(stack))
  );
}

/** ioredis makes a plain `Error` of a connection that is not there or gives no answer. Its own faults are a `TypeError` or the like. */
const isOfRedisClient = (stack: unknown) =>
  typeof stack === 'string' &&
  /^\s+at [^\n]*[\\/]node_modules[\\/]ioredis[\\/]/m.test(stack.match(/^\s+at .*$/m)?.[0] ?? '');

/** The errors of `upstream.ts`. */
const isUpstream = (name: string | undefined) => name?.startsWith('Upstream') === true;

/** An error in one line: its message, with the causes that the message does not name. */
export function errorText(error: unknown): string {
  const parts: string[] = [];
  let each: DescribedError | undefined = describeError(error);
  for (; each !== undefined; each = each.cause) {
    const { message } = each;
    if (!parts.some((part) => part.includes(message))) parts.push(message);
  }
  return parts.join(': ').replace(/\s+/g, ' ').trim();
}

/** What a person does about an error of the operating system; undefined for others. */
export function systemCure(error: unknown): string | undefined {
  const { code = '', message } = describeError(error);
  // LevelDB gives the text of the error alone
  const known = /^IO error: .*No space left on device/.test(message) ? 'ENOSPC' : String(code);
  return systemCures[known];
}

const correctPath = 'correct the path';
/** A number as well, since a container's user has no name on its host. */
const uid = process.getuid?.() ?? '';
const noPermission = `the user of this process (uid ${uid}) has no permission: correct owner and permissions (chown ${uid}), or run it as another user`;
const systemCures: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: free space on it, and try again',
  EDQUOT: 'the disk quota of this user is used up: free space, and try again',
  EROFS: 'this file system is read-only: make it writable, or name another folder in CVM_DATA_DIR',
  EACCES: noPermission,
  EPERM: noPermission,
  ENOENT: `there is no such file or folder: ${correctPath}`,
  EISDIR: `a file is needed there, and it is a folder: ${correctPath}`,
  ENOTDIR: `a folder is needed there, and it is a file: ${correctPath}`,
  EEXIST: `a file stands there already: ${correctPath}`,
  ELOOP: `its symbolic links lead in a circle: ${correctPath}`,
  EIO: 'the disk fails: replace it',
  EMFILE: 'this process may open no more files: raise the limit (ulimit -n)',
  ENFILE: 'the machine may open no more files: raise fs.file-max',
  EADDRINUSE:
    'another process has this port: stop it ("ss -ltnp" names it), or name another port (the settings …_PORT in docs/settings.md)',
  EADDRNOTAVAIL: 'this machine does not have this address: correct it',
};
