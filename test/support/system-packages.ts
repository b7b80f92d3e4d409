import { ensureCommand } from '../../runtime/system-packages.ts';
import { find } from './lacks.ts';

/** Elsewhere than on Debian their packages have other names, and the tests that need them are left out. */
const demandedOnDebian = [
  ...['gcc', 'g++', 'make', 'mbedtls/ssl.h', 'arm-none-eabi-gcc'],
  ...['python3 paho.mqtt.client cryptography', 'jq', 'xxd', 'openssl', 'curl', 'script'],
];

/** What tests need of the system. */
export const needed = [
  ...['redis-server', 'mosquitto_rr', 'haproxy', 'nginx', 'stunnel', 'chromium', 'promtool'],
  ...demandedOnDebian,
];

/** Before all tests: what they need of the system is installed, as `npm start` does. In CI a missing program is a failure. */
export default async function setup(): Promise<void> {
  for (const command of needed) {
    const ensured = await ensureCommand(command, { env: process.env, find, write: (line) => console.log(line) });
    if (ensured.ok) continue;
    const reason = `${command} is missing and could not be installed (${ensured.reason}); to install it: ${ensured.command}`;
    const isDemanded = !demandedOnDebian.includes(command) || find('apt-get') !== undefined;
    if (process.env.CI && isDemanded) throw new Error(reason);
    console.warn(`SKIPPED: the tests that need ${command}. ${reason}`);
  }
}
