import { z } from 'zod';

/** The head of the API's description; the rest is written from the schemas of the routes. */
export const openApi = (version: string) => ({
  openapi: '3.1.0',
  info: {
    title: 'cvm-gateway console',
    version,
    description:
      'What the console does, for programs: with "Authorization: Bearer <API token>" (cvm console token create). Everything that is no success has {"error":{"code","message","cure"}}.',
  },
  components: {
    securitySchemes: {
      token: { type: 'http' as const, scheme: 'bearer' },
      session: { type: 'apiKey' as const, in: 'cookie' as const, name: '__Host-cvm-console' },
    },
  },
  security: [{ token: [] }, { session: [] }],
});

type RouteSchema = Readonly<Record<string, unknown>>;

/** Puts JSON Schema in the place of each schema of zod. */
export function withoutZod({ schema, url }: { readonly schema?: RouteSchema; readonly url: string }) {
  if (schema === undefined) return { schema: { hide: true }, url };
  return {
    schema: Object.fromEntries(Object.entries(schema).map(([name, part]) => [name, converted(name, part)])),
    url,
  };
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
