import { z } from 'zod';

/** A call of the API that is refused, with cause and cure. The caller gets these texts, so nothing secret may be in them. */
export class Problem extends Error {
  readonly status: number;
  /** a word that programs go by */
  readonly code: string;
  readonly cure: string;
  /** seconds */
  readonly retryAfter: number | undefined;
  constructor(status: number, code: string, message: string, cure: string, retryAfter?: number) {
    super(message);
    this.name = 'Problem';
    this.status = status;
    this.code = code;
    this.cure = cure;
    this.retryAfter = retryAfter;
  }
}

export const notSignedIn = () =>
  new Problem(401, 'NotSignedIn', 'you are not signed in, or the session has ended', 'sign in');

export const noSuchThing = (what: string) =>
  new Problem(404, 'NotFound', `there is no ${what}`, 'GET /api/v1/openapi.json lists what there is');

/** The form of every answer that is no success. */
export const problemBody = z.object({
  error: z.object({
    code: z.string().describe('a word that programs go by'),
    message: z.string().describe('the cause'),
    cure: z.string(),
  }),
});

export type ProblemBody = z.infer<typeof problemBody>;

export const bodyOf = ({ code, message, cure }: Problem): ProblemBody => ({ error: { code, message, cure } });
