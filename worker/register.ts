import type { RegisteredThing } from '../protocol/answer.ts';
import { type Problem, problem, problems } from '../protocol/problems.ts';
import { type Acknowledgement, type AskedRegistration, recipientIdOf } from '../queue/provisioning-request.ts';
import type { ReplyStore } from '../queue/replies.ts';
import type { Device } from '../registry/device.ts';
import { serves } from '../registry/site.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import type { Sealer } from '../sealing/replies.ts';
import type { Templates } from '../templates/load.ts';
import type { Registration } from '../templates/template.ts';
import { type GiveContext, giveCertificate, judgeClaim } from './give-certificate.ts';
import { carryOut, saidBy, saidOf } from './template.ts';

export type RegisterContext = GiveContext & {
  readonly replies: Pick<ReplyStore, 'deliver'>;
  readonly seal: Pick<Sealer, 'answer'>;
  readonly templates: Templates;
};

/** `cause`: AWS refuses until a person changes something. */
export type Registered =
  | { readonly outcome: 'registered'; readonly serial: string }
  | { readonly outcome: 'rejected'; readonly problem: Problem; readonly cause?: UpstreamRefused };

type Asked = Omit<Acknowledgement, 'registration'> & { readonly registration: AskedRegistration };

/**
 * A device with its certificate is registered by a provisioning template: the last step of Fleet Provisioning. The certificate works
 * already, attached to the thing of the device; the template adds to both, and the registration is the acknowledgement. Repeating it
 * changes nothing, and answers again. A refusal is a value; an exception is an outage: it is tried again.
 */
export async function register(asked: Asked, context: RegisterContext): Promise<Registered> {
  const { serial, tokenHash, registration } = asked;
  const { requestId, replyKey } = registration;
  const outcome = await outcomeOf(asked, context);
  const recipientId = recipientIdOf(serial, tokenHash);
  const answer =
    'problem' in outcome
      ? ({ status: 'rejected', problem: outcome.problem } as const)
      : ({ status: 'registered', ...outcome } as const);
  await context.replies.deliver({ requestId, recipientId, sealed: context.seal.answer(replyKey, recipientId, answer) });
  return 'problem' in outcome
    ? { outcome: 'rejected', ...outcome }
    : { outcome: 'registered', serial: outcome.thingName };
}

type Refused = { readonly problem: Problem; readonly cause?: UpstreamRefused };

/** On the connection of a claim certificate the template names the device, which gets the certificate now. */
async function outcomeOf(asked: Asked, context: RegisterContext): Promise<RegisteredThing | Refused> {
  const { claim: id } = asked;
  if (id === undefined) return outcomeOfDevice(asked, context);
  const claimed = { ...asked, claim: id };
  const claim = await judgeClaim(claimed, context);
  if ('problem' in claim) return claim;
  const said = saidBy({ ...asked, ...asked.registration }, context.templates);
  if ('problem' in said) return said;
  const given = await giveCertificate(claimed, claim, said.thingName, context);
  return 'problem' in given ? given : outcomeOfDevice({ ...asked, ...given }, context);
}

async function outcomeOfDevice(asked: Asked, context: RegisterContext): Promise<RegisteredThing | Refused> {
  const { registry, site, now } = context;
  const { serial, tokenHash, certificateId } = asked;
  // the row first: a caller that is not the device learns nothing of templates
  const row = await registry.find(serial);
  const unfit = judgeRow(row, asked, site);
  if (unfit !== undefined) return { problem: unfit };
  const said = saidOf(serial, { ...asked, ...asked.registration }, context.templates);
  if ('problem' in said) return said;
  // once: what comes again, from the device or from an old copy of the job, must not undo what was decided since
  const failed = row?.deliveredAt === undefined ? await carryOutHere(said, asked, context) : undefined;
  if (failed !== undefined) return failed;
  // an operator may have decided otherwise meanwhile
  if (!(await registry.acknowledge(serial, tokenHash, certificateId, now(), site)))
    return { problem: problems.ownershipTokenUnfit };
  return { thingName: said.thingName, deviceConfiguration: said.deviceConfiguration };
}

/** @returns why this certificate is not the one that the device holds by this token */
function judgeRow(device: Device | undefined, asked: Asked, site: string | undefined): Problem | undefined {
  if (device === undefined || !serves(site, device.site) || device.tokenHash !== asked.tokenHash)
    return problems.invalidToken;
  if (device.state === 'blocked') return problems.blocked;
  const holds = device.state === 'registered' && device.certificateId === asked.certificateId;
  return holds ? undefined : problems.ownershipTokenUnfit;
}

/** The device has its certificate, so the words of a request for one would mislead. */
const awsRefuses = problem(
  'UpstreamUnavailable',
  'AWS refuses what the template says of this device, a group that is not there, say; the gateway operator has been told why. Ask again later with the same ownership token',
  300,
);

async function carryOutHere(said: Registration, { certificateId }: Asked, { issuer }: Pick<RegisterContext, 'issuer'>) {
  try {
    const problem = await carryOut(said, certificateId, issuer);
    return problem && { problem };
  } catch (error) {
    if (!(error instanceof UpstreamRefused)) throw error;
    return { problem: awsRefuses, cause: error };
  }
}
