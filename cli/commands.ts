import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { writeLine } from './output.ts';

/**
 * A command of the program. Its code, and what that needs, is loaded only when the command runs or its own help is shown:
 * all of it together costs a second of CPU and 90 MB, and a health check runs every few seconds.
 */
export type CommandEntry = {
  readonly name: string;
  readonly description: string;
  load(context: () => Promise<CliContext>): Promise<Command>;
};

/** The table of the commands, in the order of the help. */
export const commands: readonly CommandEntry[] = [
  {
    name: 'up',
    description:
      'run the whole gateway on this machine: broker and worker, and a Redis of its own unless REDIS_URL is set',
    load: async (context) => (await import('./up.ts')).upCommand(await context()),
  },
  {
    name: 'broker',
    description: 'run the MQTT broker that devices talk to (needs REDIS_URL)',
    load: async (context) => (await import('./broker.ts')).brokerCommand(await context()),
  },
  {
    name: 'worker',
    description:
      'run a worker: it takes requests from the queue and vends certificates from AWS IoT Core (needs REDIS_URL)',
    load: async (context) => (await import('./worker.ts')).workerCommand(await context()),
  },
  {
    name: 'explain',
    description: 'say why a device has no certificate, and what to do about it: every step that was seen of it',
    load: async (context) => (await import('./explain.ts')).explainCommand(await context()),
  },
  {
    name: 'console',
    description: "run the operator's web console and its API (needs REDIS_URL); its password and API tokens",
    load: async (context) => (await import('./console.ts')).consoleCommand(await context()),
  },
  {
    name: 'devices',
    description: 'enrol devices, list them, reissue, block and remove them',
    load: async (context) => (await import('./devices.ts')).devicesCommand(await context()),
  },
  {
    name: 'status',
    description:
      'how the gateway is, on one screen: Redis, the line, workers and brokers, AWS, certificates, disk, quotas',
    load: async (context) => (await import('./status.ts')).statusCommand(await context()),
  },
  {
    name: 'doctor',
    description:
      'look at everything that the gateway needs, and say what is wrong and what to do: settings, certificate, Redis, AWS, permissions',
    load: async (context) => (await import('./doctor.ts')).doctorCommand(await context()),
  },
  {
    name: 'sweep',
    description:
      'compare the table with AWS IoT Core, and repair the traces of crashes and lost answers. The worker does this by itself every CVM_SWEEP_INTERVAL',
    load: async (context) => (await import('./sweep.ts')).sweepCommand(await context()),
  },
  {
    name: 'sim',
    description: 'simulate devices that request their certificates from the gateway, for load tests',
    load: async (context) => (await import('./sim.ts')).simCommand(await context()),
  },
  {
    name: 'certify',
    description: 'put the firmware of a device through the awkward cases, and write down what it does',
    load: async (context) => (await import('./certify.ts')).certifyCommand(await context()),
  },
  {
    name: 'tls',
    description: "the broker's server certificate and its CA, and the gateways that devices are enrolled for",
    load: async (context) => (await import('./tls.ts')).tlsCommand(await context()),
  },
  {
    name: 'audit',
    description: 'the audit trail of this machine: every enrolment, vend, refusal, reissue, block, removal and sweep',
    load: async (context) => (await import('./audit.ts')).auditCommand(await context()),
  },
  {
    name: 'backup',
    description: 'save the identity of this gateway in one sealed file: CA, keys, passwords, templates, settings',
    load: async (context) => (await import('./backup.ts')).backupCommand(await context()),
  },
  {
    name: 'restore',
    description: 'put the files of a backup into an empty data folder: all of them, or none',
    load: async (context) => (await import('./restore.ts')).restoreCommand(await context()),
  },
  {
    name: 'templates',
    description: 'the provisioning templates of AWS IoT Fleet Provisioning that this gateway carries out',
    load: async (context) => (await import('./templates.ts')).templatesCommand(await context()),
  },
  {
    name: 'claims',
    description: 'claim certificates, by which a group of devices may ask for certificates in Fleet Provisioning',
    load: async (context) => (await import('./claims.ts')).claimsCommand(await context()),
  },
  {
    name: 'aws',
    description: 'prepare the AWS account',
    load: async (context) => (await import('./aws.ts')).awsCommand(await context()),
  },
  {
    name: 'aws-local',
    description: 'run the stand-in for AWS IoT Core and DynamoDB by itself, for development and tests',
    load: async (context) => (await import('./aws-local.ts')).awsLocalCommand(await context()),
  },
  {
    name: 'health',
    description: 'check that a part works: exit status 0, or 1 with the reason',
    load: async () => (await import('./health.ts')).healthCommand({ write: writeLine }),
  },
  {
    name: 'completion',
    description: 'print a script by which bash, zsh or fish completes commands and options',
    load: async (context) =>
      (await import('./completion.ts')).completionCommand({ program: () => wholeProgram(context), write: writeLine }),
  },
];

/** All commands, with the code of each. */
async function wholeProgram(context: () => Promise<CliContext>): Promise<Command> {
  const { Command } = await import('commander');
  const program = new Command('cvm').option('--version');
  for (const { name, load } of commands)
    program.addCommand(name === 'completion' ? new Command(name) : await load(context));
  return program;
}
