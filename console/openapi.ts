import { z } from 'zod';
import { problemBody } from './problem.ts';

/** The head of the API's description; the rest is written from the schemas of the routes. @param cookie the name of a session's */
export const openApi = (version: string, cookie: string) => ({
  openapi: '3.1.0',
  info: {
    title: 'cvm-gateway console',
    version,
    description:
      'What the console does, for programs: with "Authorization: Bearer <API token>" (cvm console token create).',
    license: { name: 'Apache License 2.0', identifier: 'Apache-2.0' },
  },
  servers: [{ url: '/', description: 'this gateway' }],
  components: {
    securitySchemes: {
      token: { type: 'http' as const, scheme: 'bearer' },
      session: { type: 'apiKey' as const, in: 'cookie' as const, name: cookie },
    },
    schemas: { Problem: jsonSchemaOf(problemBody, 'output') as object },
  },
  security: [{ token: [] }, { session: [] }],
});

/** The answer of a call whose route has no schema of it: its summary says what it has. */
const answerOf = ({ produces: [type = 'application/json'] = [] }: RouteSchema & { readonly produces?: string[] }) => ({
  description: 'as the summary says',
  content: { [type]: { schema: { type: type === 'application/json' ? 'object' : 'string' } } },
});

const refusal = {
  description: 'refused; with Retry-After where it will be taken later',
  content: { 'application/json': { schema: { $ref: '#/components/schemas/Problem' } } },
};

type RouteSchema = Readonly<Record<string, unknown>>;

/** Puts JSON Schema in the place of each schema of zod. */
export function withoutZod({ schema, url }: { readonly schema?: RouteSchema; readonly url: string }) {
  if (schema === undefined) return { schema: { hide: true }, url };
  const parts = Object.entries(schema).map(([name, part]) => [name, converted(name, part)]);
  const { response = { 200: answerOf(schema) }, ...rest } = Object.fromEntries(parts);
  return { schema: { ...rest, response: { ...response, default: refusal } }, url };
}

function converted(name: string, part: unknown): unknown {
  if (part instanceof z.ZodType) return jsonSchemaOf(part, 'input');
  if (name !== 'response') return part;
  const answers = Object.entries(part as RouteSchema);
  return Object.fromEntries(
    answers.map(([status, answer]) => [status, answer instanceof z.ZodType ? jsonSchemaOf(answer, 'output') : answer]),
  );
}

function jsonSchemaOf(schema: z.ZodType, io: 'input' | 'output'): unknown {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    target: 'draft-2020-12',
  });
  return rest;
}
