import { type Account, type Input, type Operation, page, principalOf } from './account.ts';
import { refuse } from './errors.ts';
import type { Thing, ThingPrincipal } from './store.ts';
import { thingOf } from './things.ts';

const kindOf = ({ exclusive }: ThingPrincipal) => (exclusive ? 'EXCLUSIVE_THING' : 'NON_EXCLUSIVE_THING');

/** Idempotent. @see https://docs.aws.amazon.com/iot/latest/apireference/API_AttachThingPrincipal.html */
export const AttachThingPrincipal: Operation = (account, input) => {
  const { store } = account;
  const { certificateArn: principal } = principalOf(account, input.principal);
  const { thingName } = thingOf(account, input.thingName);
  const exclusive = input.thingPrincipalType === 'EXCLUSIVE_THING';
  const others = store
    .all('thingPrincipal')
    .filter((row) => row.principal === principal && row.thingName !== thingName);
  if (others.some((row) => exclusive || row.exclusive))
    refuse(
      'InvalidRequestException',
      'The principal is attached to another thing, and one of the attachments is exclusive',
    );
  store.put('thingPrincipal', `${thingName} ${principal}`, { thingName, principal, exclusive });
  return {};
};

/** It has no caller any more: a full disk must not end the process. In memory it is done, and the next call says that the disk is full. */
function detachLate({ store }: Account, key: string): void {
  try {
    store.remove('thingPrincipal', key);
  } catch {
    // it is attached again after a restart, as AWS may be slow as well
  }
}

/** AWS does this asynchronously: the attachment is still seen for a moment. */
export const DetachThingPrincipal: Operation = (account, input) => {
  const { store } = account;
  const { certificateArn } = principalOf(account, input.principal);
  const key = `${thingOf(account, input.thingName).thingName} ${certificateArn}`;
  if (account.detachMs === 0) store.remove('thingPrincipal', key);
  else setTimeout(() => detachLate(account, key), account.detachMs);
  return {};
};

export const ListThingPrincipals: Operation = (account, input) => {
  const { items, next } = principalsOf(account, input);
  return { principals: items.map((row) => row.principal), nextToken: next };
};

export const ListThingPrincipalsV2: Operation = (account, input) => {
  const { items, next } = principalsOf(account, input);
  return {
    thingPrincipalObjects: items.map((row) => ({ principal: row.principal, thingPrincipalType: kindOf(row) })),
    nextToken: next,
  };
};

export const ListPrincipalThings: Operation = (account, input) => {
  const { items, next } = thingsOf(account, input);
  return { things: items.map((row) => row.thingName), nextToken: next };
};

export const ListPrincipalThingsV2: Operation = (account, input) => {
  const { items, next } = thingsOf(account, input);
  return {
    principalThingObjects: items.map((row) => ({ thingName: row.thingName, thingPrincipalType: kindOf(row) })),
    nextToken: next,
  };
};

/**
 * The thing that a connection stands for: the exclusive thing of its certificate, whatever the client id; otherwise one that the
 * certificate is attached to and that has the client id as its name.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/thing-policy-variables.html
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/exclusive-thing.html
 */
export function thingOfConnection({ store }: Account, certificateArn: string, clientId: string): Thing | undefined {
  const rows = store.all('thingPrincipal').filter((row) => row.principal === certificateArn);
  const row = rows.find((each) => each.exclusive) ?? rows.find((each) => each.thingName === clientId);
  return row === undefined ? undefined : store.get('thing', row.thingName);
}

function principalsOf(account: Account, input: Input) {
  const { thingName } = thingOf(account, input.thingName);
  return pageOf(account, input, (row) => row.thingName === thingName);
}

function thingsOf(account: Account, input: Input) {
  const { certificateArn } = principalOf(account, input.principal);
  return pageOf(account, input, (row) => row.principal === certificateArn);
}

function pageOf({ store }: Account, input: Input, fits: (row: ThingPrincipal) => boolean) {
  const { thingPrincipalType: kind } = input;
  const rows = store.all('thingPrincipal').filter((row) => fits(row) && (kind === undefined || kindOf(row) === kind));
  return page(rows, input);
}
