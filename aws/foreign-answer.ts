import type { Readable } from 'node:stream';

/** An HTTP answer before the SDK reads its body. Names of headers are in lower case. */
export type RawAnswer = {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body?: Partial<Pick<Readable, 'destroy'>> | undefined;
};

/** Each answer of AWS has one of them, errors included. */
const requestIds = ['x-amzn-requestid', 'x-amzn-request-id', 'x-amz-request-id'];

/**
 * Something between us and AWS answered in its place: a proxy that inspects TLS and blocks the call, a login page of the network, or a
 * server that AWS_ENDPOINT_URL names by mistake.
 */
export class ForeignAnswer extends Error {
  readonly cure: string;
  /** what the SDK's retries and our health check read of an answer */
  readonly $metadata: { readonly httpStatusCode: number };
  constructor({ statusCode, headers }: RawAnswer) {
    const kind = headers['content-type']?.split(';', 1)[0] ?? 'no content type';
    super(`the answer is not of AWS: status ${statusCode}, ${kind}, and no request id of AWS`);
    this.name = 'ForeignAnswer';
    this.cure =
      'something between this machine and AWS answers in its place: look at the log of the proxy that inspects TLS or blocks pages, log in to the network where it asks for that, and correct AWS_ENDPOINT_URL_IOT and AWS_ENDPOINT_URL_DYNAMODB where they are set';
    this.$metadata = { httpStatusCode: statusCode };
  }

  /** A status of 4xx says that the request was not carried out, but for 408, which may come later. After any other status AWS may have acted. */
  get didNothing(): boolean {
    const { httpStatusCode } = this.$metadata;
    return httpStatusCode >= 400 && httpStatusCode < 500 && httpStatusCode !== 408;
  }
}

/**
 * The SDK reads a body without looking at who sent it: it takes an empty one for a write that succeeded, and a page for JSON that is broken.
 * @throws ForeignAnswer
 */
export function requireAnswerOfAws(answer: RawAnswer): void {
  const { statusCode, headers } = answer;
  if (requestIds.some((name) => headers[name])) return;
  // an error that names its type speaks for itself; a success must not be believed so easily
  const isJson = /^application\/(x-amz-)?json/i.test(headers['content-type'] ?? '');
  if (statusCode >= 400 && (isJson || headers['x-amzn-errortype'])) return;
  // ends the connection, which does not lead to AWS
  answer.body?.destroy?.();
  throw new ForeignAnswer(answer);
}
