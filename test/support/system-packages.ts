import { ensureCommand } from '../../runtime/system-packages.ts';

/** Before all tests: what they need of the system is installed, as `npm start` does. In CI a missing program is a failure. */
export default async function setup(): Promise<void> {
  for (const command of ['redis-server', 'mosquitto_rr', 'haproxy']) {
    const ensured = await ensureCommand(command, { env: process.env, write: (line) => console.log(line) });
    if (ensured.ok) continue;
    const reason = `${command} is missing and could not be installed (${ensured.reason}); to install it: ${ensured.command}`;
    if (process.env.CI) throw new Error(reason);
    console.warn(`SKIPPED: the tests that need ${command}. ${reason}`);
  }
}
