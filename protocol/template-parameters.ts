import { z } from 'zod';
import { type AskedTemplate, maxPayloadBytes } from './dialect.ts';
import { type Problem, problem } from './problems.ts';

const notTexts = '"parameters" must be an object of texts';

/** A map inside of CBOR; keys that are not text are dropped, as in the payload itself. */
const objectOf = (value: unknown): unknown =>
  value instanceof Map ? Object.fromEntries([...value].filter(([key]) => typeof key === 'string')) : (value ?? {});

/** The parameters of a provisioning template, in the payload of either dialect. Absent ones are none. */
export const parametersShape = z.preprocess(objectOf, z.record(z.string(), z.string(notTexts), notTexts));

/** Why they cannot be stored: as JSON they are, where a control character takes six. */
export function tooLongParameters(parameters: AskedTemplate['parameters']): Problem | undefined {
  const { length } = JSON.stringify(parameters);
  const reason = `the parameters have ${length} characters as JSON; at most ${maxPayloadBytes} are taken`;
  return length > maxPayloadBytes ? problem('PayloadTooLarge', reason) : undefined;
}
