import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DescribeThingCommand, UpdateThingCommand } from '@aws-sdk/client-iot';
import type { Credential } from '../../gateway-sim/device.ts';
import { fleetTemplate, templateFolder } from '../support/fleet-device.ts';
import type { AskOptions } from './asking.ts';
import type { Figure } from './figures.ts';
import { createFleetAsker, type FleetAsker, type FleetPlan, type FleetProof, templateName } from './fleet-asking.ts';
import { judgePromises, type Party, sayFindings } from './promises.ts';
import type { Random } from './random.ts';
import { type Site, startSite } from './site.ts';
import { killAtRandom, nothing } from './storm.ts';

/**
 * How a device proves itself, and what it does in the storm. `abandons`: it asks for its certificate, and comes back when its ownership
 * token has ended. `never-returns`: it does not come back.
 */
type Way = 'provisions' | 'abandons' | 'never-returns';
type Plan = FleetPlan & {
  readonly serial: string;
  readonly by: 'token' | 'claim';
  readonly way: Way;
  readonly startMs: number;
};
type Member = { readonly plan: Plan; readonly asker: FleetAsker };

const boundMs = 60_000;
const spreadMs = 700;
const hourMs = 3_600_000;
const group = 'pumps';
const [model, byHand] = ['pump', 'changed-by-hand'];
/** Carried out again, it would undo what an operator has changed. */
const thing = {
  Type: 'AWS::IoT::Thing',
  OverrideSettings: { AttributePayload: 'MERGE' },
  Properties: { ThingName: { Ref: 'SerialNumber' }, AttributePayload: { model } },
};
const ways: readonly (readonly ['token' | 'claim', Way])[] = [
  ...(['token', 'claim', 'token', 'claim', 'token'] as const).map((by) => [by, 'provisions'] as const),
  ['token', 'abandons'],
  ['claim', 'abandons'],
  ['claim', 'never-returns'],
];

function plan(devices: number, kills: number, random: Random): Plan[] {
  return Array.from({ length: devices }, (_, index): Plan => {
    const [by, way] = ways[index % ways.length] as (typeof ways)[number];
    return {
      ...{ serial: `fleet-${index + 1}`, by, way },
      flow: random.next() < 0.4 ? 'rsa' : 'csr',
      form: random.next() < 0.5 ? 'json' : 'cbor',
      startMs: random.between(0, kills * spreadMs),
    };
  });
}

/** What must never be, in words. */
type Faults = {
  readonly asAnother: string[];
  readonly foreign: string[];
  readonly ended: string[];
  readonly twice: string[];
};

/**
 * Devices of AWS IoT Fleet Provisioning, with a token of their own or with a claim certificate, while parts are killed and AWS fails;
 * then an operator changes what the template has set, and the devices ask again; then the hour of the ownership tokens passes.
 */
export async function fleetProvisioning(
  { devices, kills, random }: { devices: number; kills: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  const templates = templateFolder({ [templateName]: fleetTemplate({}, {}, { thing }) });
  const site = await startSite({ workers: 2, env: { CVM_TEMPLATES_DIR: templates.folder, CVM_CLAIMS: '1' } });
  try {
    const faults: Faults = { asAnother: [], foreign: [], ended: [], twice: [] };
    const claim = await makeClaim(site);
    const members = await enrolAll(site, plan(devices, kills, random), claim);
    let giveUpAt = Number.POSITIVE_INFINITY;
    const options = { giveUpAt: () => giveUpAt };
    const using = members.map(async (member, index) => {
      await sleep(member.plan.startMs);
      const other = members[(index + 1) % members.length] as Member;
      await useInStorm(member, other.plan.serial, faults, options);
    });
    const killed = await killAtRandom(site, kills, random, say);
    giveUpAt = performance.now() + boundMs;
    await Promise.all(using);
    say(`the storm is over; kills: ${JSON.stringify(killed.byPart)}`);

    giveUpAt = performance.now() + boundMs;
    const repeated = await repeatAfterChange(site, members, faults, options);
    await useForeign(members, faults, options);

    giveUpAt = performance.now() + boundMs;
    const left = members.filter(({ plan: { way } }) => way !== 'provisions');
    // a connection that the storm has cut left an ownership token that counts nowhere
    for (const { plan: planned, asker } of left) if (planned.by === 'claim') await asker.create(options);
    await site.clock.step(hourMs + 60_000, site.redisUrl);
    await sleep(300);
    giveUpAt = performance.now() + boundMs;
    await Promise.all(left.map((member) => comeBack(member, faults, options)));

    say(`refusals: ${JSON.stringify(countOf(members.flatMap(({ asker }) => asker.refusals)))}`);
    const owed = members.map(({ asker }) => new Set(asker.owed));
    for (const { asker } of members) await asker.leave();
    sayFindings(await site.sweepLater(3 * hourMs), say);
    const parties = await Promise.all(members.map((member, index) => partyOf(site, member, owed[index] ?? new Set())));
    for (const note of Object.values(faults).flat()) say(`  ${note}`);
    const part = 'Fleet Provisioning';
    return [
      ...(await judgePromises(part, site, parties, say)),
      ...(await judgeClaim(part, site, claim, members)),
      nothing(`${part}: devices registered as another one`, faults.asAnother.length),
      nothing(`${part}: ownership tokens taken from another connection or device`, faults.foreign.length),
      nothing(`${part}: ownership tokens taken after their hour`, faults.ended.length),
      nothing(`${part}: templates that were carried out again`, faults.twice.length),
      { name: `${part}: registrations that were answered again`, value: repeated, goal: '>= 1', holds: repeated >= 1 },
    ];
  } finally {
    await site.close();
    templates.remove();
  }
}

type Claim = { readonly id: string; readonly cert: string; readonly key: string };

/** As an operator would, on the machine that has the site CA. */
async function makeClaim(site: Site): Promise<Claim> {
  const limits = ['--most', '1000', '--per-hour', '10000', '--expires', '7d'];
  const argv = ['claims', 'create', group, '--template', templateName, '--serials', 'fleet-*', ...limits];
  const made = await site.command([...argv, '--out', site.folder, '--json'], {
    CVM_DATA_DIR: join(site.folder, 'broker'),
  });
  if (made.status !== 0) throw new Error(`there is no claim certificate: ${made.stderr}`);
  const { id, certificateFile, keyFile } = JSON.parse(made.stdout) as Record<string, string>;
  return { id: id ?? '', cert: readFileSync(certificateFile ?? '', 'utf8'), key: readFileSync(keyFile ?? '', 'utf8') };
}

async function enrolAll(site: Site, plans: readonly Plan[], { cert, key }: Claim): Promise<Member[]> {
  const serialsOf = (by: Plan['by']) => plans.filter((each) => each.by === by).map(({ serial }) => serial);
  const enrolled = [
    ...(await site.enrol(serialsOf('token'))),
    ...(await site.enrol(serialsOf('claim'), { claimGroup: group })),
  ];
  const credentials = new Map(enrolled.map((each) => [each.serial, each]));
  return Promise.all(
    plans.map(async (planned) => {
      const credential = credentials.get(planned.serial) as Credential;
      const byToken = { username: planned.serial, password: credential.token };
      const proof: FleetProof = planned.by === 'token' ? byToken : { cert, key };
      return { plan: planned, asker: await createFleetAsker(site.gateway, credential, proof, planned) };
    }),
  );
}

const ownershipTokenOf = ({ created }: FleetAsker): string => created.at(-1)?.ownershipToken ?? '';

/** Until it is registered, or has asked for its certificate where it does no more. `other`: it first tries to be that device. */
async function useInStorm({ plan: { way }, asker }: Member, other: string, faults: Faults, options: AskOptions) {
  while (options.giveUpAt() > performance.now()) {
    const made = await asker.create(options);
    if (way !== 'provisions' || made === undefined) return;
    if (made.errorCode === 'AlreadyProvisioned') return;
    if (made.errorCode !== undefined) continue;
    const asOther = await asker.provision(ownershipTokenOf(asker), other, options);
    if (asOther !== 'lost' && asOther?.thingName !== undefined)
      faults.asAnother.push(`${asker.serial} is now ${other}`);
    const answer = await asker.provision(ownershipTokenOf(asker), asker.serial, options);
    if (answer === undefined) return;
    // it was registered, on a connection that broke before the answer
    if (answer !== 'lost' && (answer.thingName === asker.serial || answer.errorCode === 'AlreadyProvisioned')) return;
  }
}

/** The template is carried out once: what an operator changes afterwards stays, although devices ask again, and a worker is killed. @returns how many were answered again */
async function repeatAfterChange(
  site: Site,
  members: readonly Member[],
  faults: Faults,
  options: AskOptions,
): Promise<number> {
  const registered = members.filter(({ plan: { way } }) => way === 'provisions');
  const changed = { attributePayload: { attributes: { model: byHand }, merge: true } };
  for (const { asker } of registered)
    await site.iot.send(new UpdateThingCommand({ thingName: asker.serial, ...changed })).catch(() => {});
  const repeating = registered.map(({ asker }) => asker.provision(ownershipTokenOf(asker), asker.serial, options));
  const [worker] = site.workers;
  await sleep(50);
  await worker?.kill();
  await worker?.start();
  const answers = await Promise.all(repeating);
  for (const { asker } of registered) {
    const described = await site.iot.send(new DescribeThingCommand({ thingName: asker.serial })).catch(() => undefined);
    const found = described?.attributes?.model;
    // a device that was not served at all is the verdict's
    if (found !== undefined && found !== byHand) faults.twice.push(`${asker.serial} has the model ${found} again`);
  }
  return answers.filter((answer) => answer !== 'lost' && answer?.thingName !== undefined).length;
}

/** The ownership token of another device, and of another connection of the same claim certificate. */
async function useForeign(members: readonly Member[], faults: Faults, options: AskOptions): Promise<void> {
  for (const by of ['token', 'claim'] as const) {
    const same = members.filter(({ plan: planned }) => planned.by === by).slice(0, 10);
    await Promise.all(
      same.map(async ({ asker }, index) => {
        const { asker: other } = same[(index + 1) % same.length] as Member;
        if (by === 'claim') await asker.create(options);
        const answer = await asker.provision(ownershipTokenOf(other), asker.serial, options);
        if (answer === 'lost' || answer?.errorCode !== 'InvalidCertificateOwnershipToken')
          faults.foreign.push(`${asker.serial}, by the ownership token of ${other.serial}: ${JSON.stringify(answer)}`);
      }),
    );
  }
}

/** After the hour: the ownership token is refused, and a new one is for the asking. */
async function comeBack({ plan: { way }, asker }: Member, faults: Faults, options: AskOptions): Promise<void> {
  const ended = await asker.provision(ownershipTokenOf(asker), asker.serial, options);
  if (ended === 'lost' || ended?.errorCode !== 'InvalidCertificateOwnershipToken')
    faults.ended.push(`the ended ownership token of ${asker.serial}: ${JSON.stringify(ended)}`);
  if (way === 'never-returns') return;
  await asker.create(options);
  await asker.provision(ownershipTokenOf(asker), asker.serial, options);
}

/** A claim certificate's device may have asked for several certificates: it holds the one that was given to it. */
async function partyOf(site: Site, { plan: planned, asker }: Member, owed: ReadonlySet<string>): Promise<Party> {
  const { serial, token, refusals, created } = asker;
  const named = (await site.registry.find(serial))?.certificateId;
  const given = planned.by === 'token' ? created : created.filter(({ certificateId }) => certificateId === named);
  const account = { token, refusals, owed, given: [...given] };
  return { serial, askers: [account], ends: planned.way === 'never-returns' ? 'dead' : 'serves' };
}

/** Its numbers, and that it notes no certificate any more. */
async function judgeClaim(part: string, site: Site, { id }: Claim, members: readonly Member[]): Promise<Figure[]> {
  const noted = Object.values(await site.claims.waiting(id)).flat();
  const served = (await site.claims.find(id))?.served ?? 0;
  const expected = members.filter(({ plan: { by, way } }) => by === 'claim' && way !== 'never-returns').length;
  return [
    nothing(`${part}: certificates that a claim certificate still notes after the sweep`, noted.length),
    nothing(
      `${part}: devices that a claim certificate counts beyond those that it served`,
      Math.abs(served - expected),
    ),
  ];
}

function countOf(texts: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const each of texts) counts[each] = (counts[each] ?? 0) + 1;
  return counts;
}
