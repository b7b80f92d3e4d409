import { createHash } from 'node:crypto';
import type { Issuer } from '../issuer/issuer.ts';
import type { AskedTemplate } from '../protocol/dialect.ts';
import { type Problem, problem } from '../protocol/problems.ts';
import type { Templates } from '../templates/load.ts';
import type { Registration } from '../templates/template.ts';

/**
 * Carries out provisioning templates for both dialects: in Fleet Provisioning when the device has its certificate (`register.ts`), in our own
 * before the certificate works (`provision.ts`).
 */
type Asked = AskedTemplate & { readonly certificateId: string };

type Refused = { readonly problem: Problem };

/** A reply is kept in the row and in Redis: as JSON, in characters. A template has less, but may say what the device sent many times. */
const maxConfiguration = 16_384;

/** Evaluates the template with these parameters. */
export function saidBy(
  { templateName, parameters, certificateId }: Asked,
  templates: Templates,
): Registration | Refused {
  const template = templates.get(templateName);
  if (template === undefined) return { problem: noTemplate };
  const said = template.register(parameters, certificateId);
  if ('refusal' in said) return refused(`the template ${templateName} cannot be used: ${said.refusal}`);
  const { length } = JSON.stringify(said.registration.deviceConfiguration);
  return length > maxConfiguration
    ? refused(`the template ${templateName} makes a configuration of ${length} characters; at most ${maxConfiguration}`)
    : said.registration;
}

/** Evaluates the template for this device. Its thing must be the one that the serial names. */
export function saidOf(serial: string, asked: Asked, templates: Templates): Registration | Refused {
  const said = saidBy(asked, templates);
  return 'problem' in said || said.thingName === serial ? said : { problem: otherThing };
}

/**
 * Carries out what the template says; where it says nothing of thing and certificate, no call is made. A second time changes nothing.
 * @returns why it was not done, and then nothing was @throws UpstreamRefused until a person acts
 */
export async function carryOut(
  said: Registration,
  certificateId: string,
  issuer: Pick<Issuer, 'configure'>,
): Promise<Problem | undefined> {
  const { thingName, attributes, thingTypeName, overrides, thingGroupNames, policyNames } = said;
  const says = { attributes, thingGroupNames, policyNames, ...(thingTypeName === undefined ? {} : { thingTypeName }) };
  const isEmpty = Object.values(says).every((value) => Object.keys(value).length === 0);
  if (isEmpty) return undefined;
  const done = await issuer.configure({ thingName, certificateId, overrides, ...says });
  return done ? undefined : otherProperties;
}

/** Names what a template said of one certificate. Where template or parameters have changed since, a kept reply has another configuration. */
export const digestOf = (said: Registration): string => createHash('sha256').update(JSON.stringify(said)).digest('hex');

const refused = (reason: string): Refused => ({ problem: problem('InvalidRequest', reason) });

const noTemplate = problem(
  'InvalidRequest',
  'this gateway has no provisioning template of this name; "cvm templates list" shows its operator those in its folder, which a worker reads when it starts',
);

const otherThing = problem(
  'Forbidden',
  'the thing name that the template makes of these parameters is not the serial that this connection has proved: a device can be registered as itself only',
);

const otherProperties = problem(
  'Forbidden',
  'the thing has other attributes or another type already, and the OverrideSettings of the template say FAIL; ask the gateway operator',
);
