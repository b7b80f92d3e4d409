import type { DeviceState } from '../../registry/device.ts';
import type { Job, Start } from './world.ts';

/** What is found after a crash: the row, the certificates, whether the reply is kept, and how many were delivered. */
export type Found = {
  readonly state: DeviceState | undefined;
  readonly named: boolean;
  readonly intended: boolean;
  readonly pendingDeletion: number;
  /** of each certificate: `inactive`, `inactive, attached`, `active, attached` */
  readonly certificates: readonly string[];
  readonly kept: boolean;
  readonly delivered: number;
};

export type CrashRow = {
  /** as docs/issuance-cycle.md says it */
  readonly after: string;
  readonly found: string;
  readonly healedBy: string;
  /** how it is brought about: the job, and the call after whose effect its process dies */
  readonly start?: Start;
  readonly job: Job;
  readonly call: string;
  readonly state: Partial<Found>;
};

const ask = (flow: 'rsa' | 'ec'): Job => ({ ask: '1', flow: { key: flow } });

/**
 * The crash points of the worker and of the operator's commands: the table of docs/issuance-cycle.md, row by row. Those of
 * the broker and of Redis are in `npm run chaos -- --parts kill-points`, with real processes.
 */
export const crashTable: readonly CrashRow[] = [
  {
    after: '1 claim',
    found: 'the row is provisioning, with a lease, and has a create intent with its time and its key; nothing in AWS',
    healedBy:
      'the same request, which the queue gives to another worker; another request when the lease is over. Either finds no certificate with that key and creates one',
    job: ask('ec'),
    call: 'claim',
    state: { state: 'provisioning', named: false, intended: true, certificates: [] },
  },
  {
    after: '2 issue, the key known',
    found: 'an INACTIVE certificate, attached to nothing, with the key that the row has',
    healedBy: 'the next attempt adopts it',
    job: ask('ec'),
    call: 'CreateCertificate',
    state: { state: 'provisioning', named: false, intended: true, certificates: ['inactive'] },
  },
  {
    after: '2 issue, the key made by AWS',
    found: 'an INACTIVE certificate, attached to nothing, whose private key is lost',
    healedBy: 'the next attempt creates another one; the sweeper deletes this one by the time in the row',
    job: ask('rsa'),
    call: 'CreateCertificate',
    state: { state: 'provisioning', named: false, intended: true, certificates: ['inactive'] },
  },
  {
    after: '4 record',
    found: 'the row names the INACTIVE certificate, and has its reply',
    healedBy: 'the next attempt carries on at 5',
    job: ask('rsa'),
    call: 'recordCertificate',
    state: { state: 'provisioning', named: true, intended: false, kept: true, certificates: ['inactive'] },
  },
  {
    after: 'template',
    found: 'as after 4, and thing and certificate have what the template says, or a part of it',
    healedBy: 'the next attempt carries the template out again, which changes nothing that is done',
    job: { ask: '1', flow: { key: 'rsa', byTemplate: true } },
    call: 'AttachPolicy',
    state: { state: 'provisioning', named: true, intended: false, kept: true, certificates: ['inactive'] },
  },
  {
    after: '5 attach',
    found: 'as after 4, and the certificate is attached',
    healedBy: 'the next attempt carries on at 5; attaching twice changes nothing',
    job: ask('rsa'),
    call: 'AttachThingPrincipal',
    state: { state: 'provisioning', named: true, certificates: ['inactive, attached'], kept: true },
  },
  {
    after: '6 delete earlier',
    found: 'the certificate of a reissued device is gone, the new one is INACTIVE and attached',
    healedBy: 'the next attempt carries on at 5; deleting twice changes nothing',
    start: 'reissued',
    job: ask('rsa'),
    call: 'DeleteCertificate',
    state: { state: 'provisioning', named: true, certificates: ['inactive, attached'], kept: true },
  },
  {
    after: '7 activate',
    found: 'the certificate is ACTIVE, the row still provisioning',
    healedBy: 'the next attempt carries on at 5, and finishes; activating twice changes nothing',
    job: ask('rsa'),
    call: 'Activate',
    state: { state: 'provisioning', named: true, certificates: ['active, attached'], kept: true, delivered: 0 },
  },
  {
    after: '8 finish',
    found: 'the row is registered, nothing was handed over',
    healedBy: 'the request, processed again, is answered from the kept reply',
    job: ask('rsa'),
    call: 'finish',
    state: { state: 'registered', named: true, certificates: ['active, attached'], kept: true, delivered: 0 },
  },
  {
    after: '9 hand over',
    found: 'the sealed reply waits under its request',
    healedBy: 'the broker, which fetches the replies that it owes; or the device, which asks again',
    job: ask('rsa'),
    call: 'deliver',
    state: { state: 'registered', named: true, certificates: ['active, attached'], kept: true, delivered: 1 },
  },
  {
    after: 'discarding a certificate for another key, or without a reply',
    found: 'the row has marked the certificate for deletion; it is still there',
    healedBy: 'the next attempt deletes it before another one is activated; without one, the sweeper',
    start: 'half-done',
    job: ask('rsa'),
    call: 'discardCertificate',
    state: { state: 'provisioning', named: false, pendingDeletion: 1, certificates: ['inactive, attached'] },
  },
  {
    after: 'the row of a removed device is gone',
    found: 'nothing, but for a note in the table that the device was removed',
    healedBy:
      'nothing is broken; for a day the sweeper looks whether a worker that was frozen has made the thing again',
    start: 'registered',
    job: { operator: 'remove' },
    call: 'remove',
    state: { named: false, pendingDeletion: 0, certificates: [] },
  },
  {
    after: 'the first step of devices remove',
    found: 'the row is blocked, and has marked the certificate for deletion; it is still ACTIVE',
    healedBy: 'the command, repeated; or the sweeper',
    start: 'registered',
    job: { operator: 'remove' },
    call: 'retire',
    state: { state: 'blocked', named: false, pendingDeletion: 1, certificates: ['active, attached'] },
  },
  {
    after: 'the first step of devices block',
    found: 'the row is blocked, the certificate still ACTIVE',
    healedBy: 'the command, repeated; or the sweeper',
    start: 'registered',
    job: { operator: 'block' },
    call: 'block',
    state: { state: 'blocked', named: true, certificates: ['active, attached'] },
  },
  {
    after: 'the first step of devices reissue',
    found: 'the row has a new token and keeps the certificate, which still works',
    healedBy: 'nothing is broken; if the new token was not printed, the command, repeated',
    start: 'registered',
    job: { operator: 'reissue' },
    call: 'reissue',
    state: { state: 'enrolled', named: false, pendingDeletion: 0, certificates: ['active, attached'] },
  },
];
