import { join } from 'node:path';
import { desktop, launchBrowser, openConsole, phone } from './browser.ts';
import { startFakeGateway } from './fake-gateway.ts';

/** `npm run screenshots`: the pages of the console as docs/console.md shows them, into docs/images/. */
const folder = process.argv[2] ?? join('docs', 'images');
const gateway = await startFakeGateway();
const browser = await launchBrowser();

type Shot = {
  readonly name: string;
  readonly hash: string;
  readonly viewport?: typeof phone;
  readonly dark?: boolean;
};
const shots: Shot[] = [
  { name: 'now', hash: '#/now' },
  { name: 'now-dark', hash: '#/now', dark: true },
  { name: 'now-phone', hash: '#/now', viewport: phone },
  { name: 'devices', hash: '#/devices' },
  { name: 'devices-phone', hash: '#/devices', viewport: phone },
  { name: 'device', hash: '#/device/METER-0001', viewport: { width: 1366, height: 1240 } },
  { name: 'device-wrong-token', hash: '#/device/VALVE-0002' },
  { name: 'silent', hash: '#/silent' },
  { name: 'line', hash: '#/line' },
  { name: 'audit', hash: '#/audit' },
];

for (const { name, hash, viewport = desktop, dark = false } of shots) {
  const { page, context, faults } = await openConsole(browser, gateway, { viewport, dark, hash });
  await page.getByRole('heading', { level: 1 }).waitFor();
  await page.locator('.loading').waitFor({ state: 'detached' });
  await page.waitForTimeout(300);
  if (name.startsWith('now')) {
    gateway.emit(
      'device',
      ['METER-0031', 'PUMP-0044', 'FAN-0012', 'VALVE-0002'].map((serial, n) =>
        n === 3
          ? { serial, event: 'refused', outcome: 'refused', errorCode: 'InvalidToken' }
          : { serial, event: n === 1 ? 'delivered' : 'vended', outcome: 'ok' },
      ),
    );
    await page.waitForTimeout(700);
  }
  if (name === 'audit') {
    await page.getByRole('button', { name: 'Verify now' }).click();
    await page.waitForTimeout(200);
  }
  await page.screenshot({ path: join(folder, `${name}.png`) });
  if (faults.length > 0) console.log(name, faults);
  await context.close();
}

const { page, context } = await openConsole(browser, gateway, { hash: '#/import' });
await page.getByLabel('CSV file').setInputFiles({
  name: 'devices.csv',
  mimeType: 'text/csv',
  buffer: Buffer.from(
    'serial,site\nMIXER-0001,north\nMIXER 0002,north\nMIXER-0003,north\nPUMP-0001,south\nMIXER-0004,south\nMIXER-0005,south\n',
  ),
});
await page.getByRole('heading', { name: '6 rows' }).waitFor();
await page.screenshot({ path: join(folder, 'import.png') });
await page.getByRole('button', { name: 'Enrol 4 devices' }).click();
await page.getByRole('link', { name: 'Print the labels' }).click();
await page.locator('.qr').first().waitFor();
await page.screenshot({ path: join(folder, 'labels.png') });
await context.close();

await browser.close();
await gateway.close();
