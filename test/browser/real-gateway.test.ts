import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ackTopic } from '../../protocol/cvm/topics.ts';
import { askOnce, askUntilDecided, connectDevice } from '../support/device.ts';
import { lacks } from '../support/lacks.ts';
import { isolated, type Run, runCvm } from '../support/program.ts';
import { desktop, launchBrowser, openConsole, phone, seriousFindings, signIn } from './browser.ts';

/** `cvm up` as a process of its own: broker, worker, Redis, the stand-in for AWS and the console are the real ones. */
describe.skipIf(lacks('chromium') || lacks('redis-server'))('the console of a running gateway', () => {
  let browser: Browser;
  let dataDir: string;
  let run: Run;
  let url: string;
  let password: string;
  let broker: { port: number; caPem: string };

  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-browser-'));
    run = runCvm(['up', '--local-aws'], isolated(dataDir));
    [browser] = await Promise.all([launchBrowser(), run.says(/console is listening/), run.says(/broker is listening/)]);
    password = (await run.says(/shown this once: (\S+)\s/))[1] ?? '';
    url = `https://127.0.0.1:${portIn('console is listening')}/`;
    broker = { port: portIn('broker is listening'), caPem: readFileSync(join(dataDir, 'tls', 'site-ca.crt'), 'utf8') };
  });
  afterAll(async () => {
    await browser?.close();
    run?.child.kill('SIGTERM');
    await run?.ended;
    rmSync(dataDir, { recursive: true, force: true });
  });

  const portIn = (message: string): number => {
    const line =
      run
        .text()
        .split('\n')
        .find((each) => each.includes(message)) ?? '';
    return Number(/"port":(\d+)/.exec(line)?.[1]);
  };

  it.each([
    { name: 'desktop', viewport: desktop, serial: 'PUMP-0001' },
    { name: 'phone', viewport: phone, serial: 'PUMP-0002' },
  ])(
    'enrols a device, explains it, shows live how it is provisioned, and decides about it, at the width of a $name',
    async ({ viewport, serial }) => {
      const { page, context, faults } = await openConsole(
        browser,
        { url },
        { viewport, signedIn: false, ownTime: true },
      );
      await signIn(page, password);
      await page.getByText('Live', { exact: true }).waitFor();

      await page.goto(`${url}#/enrol`);
      await page.getByLabel('Serial').fill(serial);
      await page.getByRole('button', { name: 'Enrol', exact: true }).click();
      const token = (await page.locator('.label-token').textContent()) ?? '';

      await page.goto(`${url}#/device/${serial}`);
      await page.getByText('Never seen').first().waitFor();
      expect(await askOnce(broker, serial, { token: 'of-another-device-0123456789', key: 'ec' })).toMatchObject({
        errorCode: 'InvalidToken',
      });
      await page.getByText('Wrong token').first().waitFor();
      expect(await page.getByLabel('What is the matter').textContent()).toContain('with the enrolment list');

      // it came as far as its token, and no further
      await expect.poll(() => page.locator('.journey li.ok').allTextContents()).toEqual(['Connected: done']);

      // from here to the end, the page is never loaded again
      await page.evaluate('globalThis.sameLoad = true');
      const answer = await askUntilDecided(broker, serial, { token, key: 'ec' });
      expect(answer).toMatchObject({ status: 'accepted' });
      const { certificateId = '' } = answer;
      await page.getByText('Certificate vended').waitFor();
      const device = await connectDevice(broker, { username: serial, password: token });
      await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
      await device.client.endAsync(true);
      await page.getByText('All is well').waitFor();
      await expect.poll(() => page.locator('.journey li.ok').count()).toBe(6);
      expect(await page.evaluate('globalThis.sameLoad')).toBe(true);
      expect(await seriousFindings(page)).toEqual([]);

      await decide(page, 'Block');
      await page.getByText('An operator has blocked the device').waitFor();
      await decide(page, 'Unblock');
      await page.getByText('An operator has blocked the device').waitFor({ state: 'detached' });
      await decide(page, 'New token');
      await page.getByRole('heading', { level: 1, name: 'Labels' }).waitFor();
      expect(await page.locator('.label-token').textContent()).not.toBe(token);

      await page.goto(`${url}#/device/PUMP-OOO1`);
      await page.getByRole('link', { name: 'PUMP-0001' }).click();
      await page.getByRole('heading', { level: 1, name: 'PUMP-0001' }).waitFor();
      for (const hash of ['#/now', '#/devices', '#/silent', '#/line', '#/audit', '#/settings', '#/help']) {
        await page.goto(`${url}${hash}`);
        await page.getByRole('heading', { level: 1 }).waitFor();
        await page.locator('.loading').waitFor({ state: 'detached' });
        expect([hash, ...(await page.getByRole('alert').allTextContents())]).toEqual([hash]);
      }
      await context.close();
      expect(faults).toEqual([]);
    },
  );
});

async function decide(page: Page, name: string): Promise<void> {
  await page.getByRole('button', { name, exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name, exact: true }).click();
}
