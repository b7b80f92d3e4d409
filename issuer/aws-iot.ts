import { awsErrorName } from '../aws/errors.ts';
import { retryWhile } from '../aws/retry-while.ts';
import type { Log } from '../runtime/log.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import {
  attachedCertificates,
  attachedPolicies,
  attachedPrincipals,
  attachedThings,
  listCertificates,
} from './aws-iot-pages.ts';
import { activateCertificate, deactivateCertificate, withdrawCertificate } from './aws-iot-withdrawal.ts';
import { ignore, ignoreNotFound, together } from './expected-errors.ts';
import { certificateOf, certifiedBy, required, statusOf } from './iot-answers.ts';
import type { IotCalls } from './iot-calls.ts';
import {
  type Certificate,
  type CertificateAttachment,
  type CertificateDescription,
  CsrRefused,
  clockSkewMs,
  type Issuer,
  type KeySource,
  type ThingConfiguration,
} from './issuer.ts';
import { thingUpdateFor } from './thing-update.ts';

/** How long to wait for AWS IoT, which is eventually consistent, in milliseconds. */
export type Patience = {
  /** until a certificate that was created a moment ago is known to all of AWS IoT */
  readonly settleMs: number;
  /** until a thing that was detached counts as detached: "several seconds", says DetachThingPrincipal */
  readonly detachMs: number;
};

const usualPatience: Patience = { settleMs: 10_000, detachMs: 20_000 };

/**
 * AWS IoT Core as the issuer.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/Welcome.html
 */
export function createAwsIssuer({
  iot,
  log,
  patience,
}: {
  readonly iot: IotCalls;
  readonly log: Log;
  readonly patience?: Partial<Patience>;
}): Issuer {
  const { settleMs, detachMs } = { ...usualPatience, ...patience };
  const arns = createArnMemory();
  let endpoint: Promise<string> | undefined;

  /** Repeats a call about a certificate that was created a moment ago, until AWS IoT knows it. */
  const settled = <T>(call: () => Promise<T>, onLasting?: (error: unknown) => void) =>
    retryWhile(call, ['ResourceNotFoundException'], settleMs, onLasting);

  async function describeArn(certificateId: string): Promise<string> {
    const { certificateDescription } = await iot.describeCertificate(certificateId);
    return required(certificateDescription?.certificateArn, 'DescribeCertificate');
  }

  /** Undefined when the certificate is not there. */
  const arnOf = async (certificateId: string) =>
    isCertificateId(certificateId)
      ? (arns.of(certificateId) ?? (await describeArn(certificateId).catch(ignoreNotFound)))
      : undefined;

  async function describeCertificate(certificateId: string): Promise<CertificateDescription | undefined> {
    if (!isCertificateId(certificateId)) return undefined;
    const answer = await iot.describeCertificate(certificateId).catch(ignoreNotFound);
    const description = answer?.certificateDescription;
    if (description === undefined) return undefined;
    arns.remember(certificateId, required(description.certificateArn, 'DescribeCertificate'));
    const certificatePem = required(description.certificatePem, 'DescribeCertificate');
    return { certificateId, status: statusOf(description.status), certificatePem, ...certifiedBy(certificatePem) };
  }

  async function attach(attachment: CertificateAttachment, onLasting?: (error: unknown) => void): Promise<void> {
    const { certificateId, thingName, policyName, thingGroupName } = attachment;
    const arn = arns.of(certificateId) ?? (await settled(() => describeArn(certificateId), onLasting));
    const exclusive = { thingName, principal: arn, thingPrincipalType: 'EXCLUSIVE_THING' } as const;
    await together([
      settled(() => iot.attachPolicy({ policyName, target: arn }), onLasting),
      settled(() => iot.attachThingPrincipal(exclusive), onLasting),
      thingGroupName === undefined
        ? undefined
        : settled(() => iot.addThingToThingGroup({ thingName, thingGroupName }), onLasting),
    ]);
  }

  async function configure(wanted: ThingConfiguration): Promise<boolean> {
    const { thingName, certificateId, policyNames, thingGroupNames } = wanted;
    const { attributes = {}, thingTypeName } = await settled(() => iot.describeThing(thingName));
    const update = thingUpdateFor({ attributes, thingTypeName }, wanted);
    if (update === undefined) return false;
    if (Object.keys(update).length > 0) await iot.updateThing({ thingName, ...update });
    const target = policyNames.length === 0 ? '' : (arns.of(certificateId) ?? (await describeArn(certificateId)));
    await together([
      ...thingGroupNames.map((thingGroupName) => iot.addThingToThingGroup({ thingName, thingGroupName })),
      ...policyNames.map((policyName) => iot.attachPolicy({ policyName, target })),
    ]);
    return true;
  }

  async function findInactive(
    keyDigest: string,
    since: number,
    except: readonly string[],
  ): Promise<Certificate | undefined> {
    for await (const { certificateId, status, createdAt } of listCertificates(iot)) {
      if (createdAt < since - clockSkewMs) return undefined;
      if (status !== 'inactive' || except.includes(certificateId)) continue;
      const found = await describeCertificate(certificateId);
      if (found?.status !== 'inactive' || found.keyDigest !== keyDigest) continue;
      const certificateArn = required(arns.of(certificateId), 'DescribeCertificate');
      return { certificateId, certificateArn, certificatePem: found.certificatePem };
    }
    return undefined;
  }

  async function withdraw(certificateId: string): Promise<void> {
    if (!isCertificateId(certificateId)) return;
    // a certificate that was issued here a moment ago and is not found is more likely not known yet than deleted already
    const describe = () => describeArn(certificateId);
    const arn = await (arns.of(certificateId) === undefined ? describe() : settled(describe)).catch(ignoreNotFound);
    if (arn !== undefined) {
      const things = await withdrawCertificate(iot, { certificateId, arn }, detachMs);
      log.info({ certificateId, things }, 'certificate withdrawn');
    }
    arns.forget(certificateId);
  }

  return {
    async issue(key) {
      const certificate = await issue(iot, key);
      arns.remember(certificate.certificateId, certificate.certificateArn);
      return certificate;
    },
    async ensureThing(thingName, thingTypeName) {
      await iot.createThing({ thingName, thingTypeName }).catch(ignore('ResourceAlreadyExistsException'));
    },
    attach,
    configure,
    async activate(certificateId) {
      await activateCertificate(iot, certificateId);
      arns.forget(certificateId);
    },
    async deactivate(certificateId) {
      if (isCertificateId(certificateId)) await deactivateCertificate(iot, certificateId);
    },
    findInactive,
    listCertificates: () => listCertificates(iot),
    describeCertificate,
    certificatesOf: (thingName) => attachedCertificates(iot, thingName),
    async thingsOf(certificateId) {
      const arn = await arnOf(certificateId);
      return arn === undefined ? [] : attachedThings(iot, arn);
    },
    async isAttached(certificateId) {
      const arn = await arnOf(certificateId);
      if (arn === undefined) return false;
      const [policies, things] = await Promise.all([attachedPolicies(iot, arn), attachedThings(iot, arn)]);
      return policies.length + things.length > 0;
    },
    withdraw,
    async removeThing(thingName) {
      // until AWS has detached its certificate, the thing cannot be deleted
      const remove = () => iot.deleteThing(thingName).catch(ignoreNotFound);
      await retryWhile(remove, ['InvalidRequestException'], detachMs).catch((error: unknown) =>
        throwStillAttached(iot, thingName, error),
      );
    },
    endpoint() {
      endpoint ??= describeEndpoint(iot).catch((error: unknown) => {
        endpoint = undefined;
        throw error;
      });
      return endpoint;
    },
  };
}

/** Says what is attached to a thing that cannot be deleted: AWS does not, and detaching what is not ours could break what uses it. */
async function throwStillAttached(iot: IotCalls, thingName: string, error: unknown): Promise<never> {
  if (!(error instanceof UpstreamRefused) || awsErrorName(error) !== 'InvalidRequestException') throw error;
  const principals = await attachedPrincipals(iot, thingName);
  if (principals === undefined || principals.length === 0) throw error;
  const detach = `aws iot detach-thing-principal --thing-name ${thingName} --principal`;
  throw new UpstreamRefused(
    'iot:DeleteThing',
    error.cause as Error,
    `the thing ${thingName} has ${principals.length === 1 ? 'a principal' : 'principals'} that its row does not name, ${principals.join(', ')}: where nothing needs that, run "${detach} ${principals[0]}", and the removal is finished by the next sweep, or by "cvm devices remove ${thingName}"`,
  );
}

/**
 * AWS refuses anything else as an invalid request, again and again. A row that another tool wrote may name anything; a certificate with
 * such an id is not there.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/API_DescribeCertificate.html
 */
const isCertificateId = (text: string): boolean => /^[0-9a-fA-F]{64}$/.test(text);

async function issue(iot: IotCalls, key: KeySource): Promise<Certificate> {
  if (key === 'rsa') {
    const made = await iot.createKeysAndCertificate();
    const privateKeyPem = required(made.keyPair?.PrivateKey, 'CreateKeysAndCertificate');
    return { ...certificateOf(made, 'CreateKeysAndCertificate'), privateKeyPem };
  }
  try {
    return certificateOf(await iot.createCertificateFromCsr(key.csrPem), 'CreateCertificateFromCsr');
  } catch (error) {
    if (!(error instanceof UpstreamRefused) || awsErrorName(error) !== 'InvalidRequestException') throw error;
    throw new CsrRefused(error.reason, error);
  }
}

async function describeEndpoint(iot: IotCalls): Promise<string> {
  return required((await iot.describeEndpoint()).endpointAddress, 'DescribeEndpoint');
}

/** ARNs of certificates that were issued or described lately: at most `limit`, since nothing removes one that is never activated
 * or deleted. */
function createArnMemory(limit = 1000) {
  const arns = new Map<string, string>();
  return {
    of: (certificateId: string): string | undefined => arns.get(certificateId),
    remember(certificateId: string, arn: string): void {
      arns.set(certificateId, arn);
      const oldest = arns.size > limit ? arns.keys().next().value : undefined;
      if (oldest !== undefined) arns.delete(oldest);
    },
    forget: (certificateId: string): void => void arns.delete(certificateId),
  };
}
