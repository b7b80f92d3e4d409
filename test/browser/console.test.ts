import { readFileSync } from 'node:fs';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { lacks } from '../support/lacks.ts';
import { desktop, launchBrowser, type Opened, openConsole, phone, seriousFindings, signIn } from './browser.ts';
import { today } from './fake-fleet.ts';
import { type FakeGateway, startFakeGateway } from './fake-gateway.ts';

const widths = [
  { name: 'desktop', viewport: desktop },
  { name: 'phone', viewport: phone },
];
const badRows = 'serial,site\nMIXER-0001,north\nMIXER 0002,north\nPUMP-0001,south\nMIXER-0004,south\n';

describe.skipIf(lacks('chromium'))('the console in a browser', () => {
  let browser: Browser;
  let gateway: FakeGateway;
  let opened: Opened | undefined;
  /** by width and colours: what a browser has loaded once, it does not load for each test */
  const contexts = new Map<string, BrowserContext>();

  beforeAll(async () => {
    [browser, gateway] = await Promise.all([launchBrowser(), startFakeGateway()]);
  });
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
  });
  beforeEach(() => gateway.renew());
  afterEach(async () => {
    const faults = opened?.faults ?? [];
    await opened?.page.close();
    await opened?.context.clearCookies();
    opened = undefined;
    // no script failed, and nothing was stopped by the content security policy
    expect(faults).toEqual([]);
  });

  const open = async (options: Parameters<typeof openConsole>[2] = {}): Promise<Page> => {
    const key = JSON.stringify([options.viewport, options.dark]);
    opened = await openConsole(browser, gateway, { ...options, known: contexts.get(key) });
    contexts.set(key, opened.context);
    return opened.page;
  };

  describe.each(widths)('at the width of a $name', ({ viewport }) => {
    it('refuses a wrong password with its cure, and lets the right one in', async () => {
      const page = await open({ viewport, signedIn: false });
      await page.getByLabel('Password').fill('wrong');
      expect(await seriousFindings(page)).toEqual([]);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await expect.poll(() => page.getByRole('alert').textContent()).toContain('cvm console password');
      await signIn(page);
      await page.getByRole('heading', { level: 1, name: 'All is well' }).waitFor();
    });

    it('shows a device being provisioned, step by step, without a reload', async () => {
      const page = await open({ viewport, hash: '#/device/VALVE-0019' });
      await page.getByText('The device has not been seen').waitFor();
      await page.getByText('Live', { exact: true }).waitFor();
      const change = { requestedAt: '2027-03-09T10:24:01Z' };
      gateway.fleet.step('VALVE-0019', { part: 'device', step: 'connected', outcome: 'ok' }, { state: 'enrolled' });
      gateway.fleet.step(
        'VALVE-0019',
        { part: 'broker', step: 'line', outcome: 'waiting' },
        { state: 'provisioning', ...change },
      );
      await page.getByText('being provisioned', { exact: true }).waitFor();
      await page.getByText('Waits in line').waitFor();
      gateway.fleet.step(
        'VALVE-0019',
        { part: 'worker', step: 'vended', outcome: 'ok' },
        { state: 'registered', registeredAt: '2027-03-09T10:24:02Z' },
      );
      gateway.fleet.step('VALVE-0019', { part: 'device', step: 'acknowledged', outcome: 'ok' });
      await page.getByText('The device has its certificate').waitFor();
      await page.getByText('Certificate vended').waitFor();
      expect(await page.locator('.journey li.ok').count()).toBe(6);
    });

    it('enrols the good rows of a file, says what is wrong with the others, and has labels ready', async () => {
      const page = await open({ viewport, hash: '#/import' });
      await page
        .getByLabel('CSV file')
        .setInputFiles({ name: 'a.csv', mimeType: 'text/csv', buffer: Buffer.from(badRows) });
      await page.getByRole('row', { name: /MIXER 0002.*characters/ }).waitFor();
      await page.getByRole('row', { name: /PUMP-0001.*enrolled already/ }).waitFor();
      expect(gateway.fleet.devices.has('MIXER-0001')).toBe(false);
      await page.getByRole('button', { name: 'Enrol 2 devices' }).click();
      await page.getByRole('link', { name: 'Print the labels' }).click();
      await expect.poll(() => page.locator('.label-serial').allTextContents()).toEqual(['MIXER-0001', 'MIXER-0004']);
      expect(await page.getByRole('img', { name: /QR code/ }).count()).toBe(2);
      expect(await seriousFindings(page)).toEqual([]);
    });

    it('blocks a device after a question, and explains it', async () => {
      const page = await open({ viewport, hash: '#/device/METER-0001' });
      await page.getByRole('button', { name: 'Block', exact: true }).click();
      await page.getByRole('dialog').getByText('deactivated at once').waitFor();
      expect(gateway.fleet.devices.get('METER-0001')?.state).toBe('registered');
      await page.getByRole('dialog').getByRole('button', { name: 'Block', exact: true }).click();
      await page.getByText('An operator has blocked this device').waitFor();
      expect(gateway.fleet.devices.get('METER-0001')?.state).toBe('blocked');
      await page.getByRole('link', { name: 'More about blocked' }).click();
      await page.getByRole('heading', { name: /Blocked by an operator/ }).waitFor();
    });

    it('has no serious finding of axe on any page, and none that is wider than the screen', async () => {
      const page = await open({ viewport });
      for (const hash of [
        '#/now',
        '#/devices',
        '#/device/VALVE-0002',
        '#/enrol',
        '#/import',
        '#/silent',
        '#/line',
        '#/audit',
        '#/settings',
        '#/help',
      ]) {
        await page.goto(`${gateway.url}${hash}`);
        await page.locator(`main h1`).waitFor();
        await page.locator('.loading').waitFor({ state: 'detached' });
        expect([hash, ...(await seriousFindings(page))]).toEqual([hash]);
        const spare = await page.evaluate<number>(
          'document.documentElement.scrollWidth - document.documentElement.clientWidth',
        );
        expect([hash, spare]).toEqual([hash, 0]);
      }
    });
  });

  it('has no serious finding of axe in the dark, with a dialog open, and before the sign-in', async () => {
    const page = await open({ dark: true, signedIn: false });
    await page.getByLabel('Password').waitFor();
    expect(await seriousFindings(page)).toEqual([]);
    await signIn(page);
    gateway.fleet.checks.push({ id: 'x', title: 'Disk', state: 'warning', says: '2 % free', cure: 'Remove old logs.' });
    for (const hash of ['#/devices', '#/now', '#/device/VALVE-0002']) {
      await page.goto(`${gateway.url}${hash}`);
      await page.locator('.loading').waitFor({ state: 'detached' });
      expect([hash, ...(await seriousFindings(page))]).toEqual([hash]);
    }
    await page.getByRole('button', { name: 'Remove' }).click();
    await page.getByRole('dialog').waitFor();
    expect(await seriousFindings(page)).toEqual([]);
  });

  it('can be worked by keyboard alone: sign in, find a device, make a new token', async () => {
    const page = await open({ signedIn: false });
    await page.getByLabel('Password').waitFor();
    await page.keyboard.type('plum-otter-lamp-quay');
    await page.keyboard.press('Enter');
    await page.getByRole('navigation', { name: 'Pages' }).waitFor();
    await tabTo(page, 'Devices');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: 'Devices' }).waitFor();
    // the focus goes to the title of each new page
    await expect.poll(() => page.evaluate<string>('document.activeElement.tagName')).toBe('H1');
    await tabTo(page, 'Serial begins with');
    await page.keyboard.type('VALVE-0002');
    await page.getByText('1 match').waitFor();
    await tabTo(page, 'VALVE-0002');
    await page.keyboard.press('Enter');
    await page.getByText('The device presents a wrong token').waitFor();
    await tabTo(page, 'New token');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    // and back to where it was when a question is closed
    await expect.poll(() => focused(page)).toBe('New token');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await tabTo(page, 'New token');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: 'Labels' }).waitFor();
    expect(await page.locator('.label-serial').allTextContents()).toEqual(['VALVE-0002']);
  });

  it('shows tokens once: they are on no page, in no storage and in no address afterwards', async () => {
    const page = await open({ hash: '#/enrol' });
    await page.getByLabel('Serial').fill('MIXER-0009');
    await page.getByRole('button', { name: 'Enrol', exact: true }).click();
    const token = (await page.locator('.label-token').textContent()) ?? '';
    expect(token).toMatch(/^K[0-9a-f]{25}$/);
    await page.getByRole('button', { name: 'Put away' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Put away' }).click();
    await page.getByText('There are no labels to print').waitFor();
    await page.goBack();
    await page.goForward();
    const kept = await page.evaluate<string>(
      'JSON.stringify([document.documentElement.outerHTML, { ...localStorage }, { ...sessionStorage }, location.href])',
    );
    expect(kept).not.toContain(token);
  });

  it('prints labels and nothing else, each of the size that was chosen', async () => {
    const page = await open({ hash: '#/enrol' });
    await page.getByLabel('Serial').fill('MIXER-0009');
    await page.getByRole('button', { name: 'Enrol', exact: true }).click();
    await page.getByLabel('Label size').selectOption('roll');
    await page.emulateMedia({ media: 'print' });
    const seen = await page.evaluate<string[]>(`
      [...document.querySelectorAll('nav, .top, button, .box, h1, .label')]
        .filter((element) => element.getClientRects().length > 0)
        .map((element) => element.className)`);
    expect(seen).toEqual(['label']);
    const box = await page.locator('.label').boundingBox();
    expect([box?.width, box?.height].map((pixels) => Math.round(((pixels ?? 0) / 96) * 25.4))).toEqual([62, 29]);
  });

  it('takes a serial, a label and an error for text, whatever they hold', async () => {
    const image = '<img src=x onerror="document.title=`owned`">';
    const all = [
      image,
      'javascript:document.title=`owned`',
      '\u202e0001-PMUP\u2066',
      'bell\u0007null\u0001',
      '__proto__',
      'constructor',
      'x'.repeat(3000),
    ].map((text) => `!${text}`);
    for (const text of all) {
      const odd = text.slice(1);
      gateway.fleet.devices.set(text, {
        ...{ serial: text, site: odd, cameAlive: { connected: false } },
        state: odd.startsWith('_') || odd.startsWith('c') ? (odd as 'blocked') : 'registered',
      });
      gateway.fleet.step(text, { part: odd, step: odd, outcome: odd as 'ok', detail: odd, errorCode: odd });
    }
    const page = await open({ hash: '#/devices?prefix=%21' });
    await page.getByText(`${all.length} match`).waitFor();
    const wider = () =>
      page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth');
    expect(await wider()).toBe(0);
    for (const text of all) {
      await page.goto(`${gateway.url}#/device/${encodeURIComponent(text)}`);
      await expect.poll(() => page.locator('h1').textContent()).toBe(text);
      await page.locator('.timeline .step').first().waitFor();
      expect([text.slice(0, 20), await page.locator('.step-text .strong').first().textContent()]).toEqual([
        text.slice(0, 20),
        text.slice(1),
      ]);
      expect([text.slice(0, 20), await wider()]).toEqual([text.slice(0, 20), 0]);
    }
    gateway.emit('device', { serial: image, event: image, errorCode: image, outcome: '__proto__' });
    expect(await page.locator('main img').count()).toBe(0);
    expect(await page.title()).not.toBe('owned');
  });

  it('saves what a spreadsheet would take for a formula as a text', async () => {
    const page = await open({ hash: '#/import' });
    const formulas = ['=cmd|/C calc!A0', '+1', '-1+1', '@SUM(A1)', '＝1+1', ' =1'];
    await page.getByLabel('CSV file').setInputFiles({
      ...{ name: 'a.csv', mimeType: 'text/csv' },
      buffer: Buffer.from(`serial,site\n${formulas.join(',north\n')},north\n`),
    });
    const saving = page.waitForEvent('download');
    await page.getByRole('button', { name: /[Ss]ave/ }).click();
    const text = readFileSync(await (await saving).path(), 'utf8');
    const cells = text.split(/\r\n|,(?=(?:[^"]*"[^"]*")*[^"]*$)/).map((cell) => cell.replace(/^"/, ''));
    expect(cells).toEqual(expect.arrayContaining(formulas.slice(0, -1).map((formula) => `'${formula}`)));
    expect(cells.filter((cell) => /^\s*[=+@＝-]/.test(cell))).toEqual([]);
  });

  it('reads the Unicode text of Excel, which is UTF-16', async () => {
    const page = await open({ hash: '#/import' });
    await page.getByLabel('CSV file').setInputFiles({
      ...{ name: 'a.txt', mimeType: 'text/plain' },
      buffer: Buffer.from('\ufeffserial,site\r\nMIXER-0007,north\r\nMIXER-0008,north\r\n', 'utf16le'),
    });
    await page.getByRole('button', { name: 'Enrol 2 devices' }).waitFor();
  });

  it('opens the page of the address after the sign-in, and leads all tabs to it when one has signed out', async () => {
    const page = await open({ hash: '#/device/PUMP-0003', signedIn: false });
    await signIn(page);
    await page.getByRole('heading', { level: 1, name: 'PUMP-0003' }).waitFor();
    const other = await page.context().newPage();
    await other.goto(`${gateway.url}#/now`);
    await other.getByRole('button', { name: 'Sign out' }).click();
    await other.getByLabel('Password').waitFor();
    await other.close();
    await page.getByRole('link', { name: 'Line', exact: true }).click();
    await page.getByLabel('Password').waitFor();
  });

  it('comes back from a device to the page of the list that it left, and goes on from there to the first', async () => {
    const page = await open({ hash: '#/devices?state=registered' });
    const pager = page.getByRole('navigation', { name: 'Pages of the list' });
    await pager.getByRole('button').last().click();
    await pager.getByText('Page 2').waitFor();
    await pager.getByRole('button').last().click();
    await pager.getByText('Page 3').waitFor();
    const first = page.locator('tbody th a').first();
    await page.locator('.busy').waitFor({ state: 'detached' });
    const serial = (await first.textContent()) ?? '';
    await first.click();
    await page.getByRole('heading', { level: 1, name: serial }).waitFor();
    await page.goBack();
    await page.getByRole('link', { name: serial, exact: true }).waitFor();
    await pager.getByText('Page 3').waitFor();
    await pager.getByRole('button').first().click();
    await pager.getByText('Page 2').waitFor();
    // who was given the address finds the page as well, and the way to the first
    await page.reload();
    await page.locator('tbody th a').first().waitFor();
    await pager.getByRole('button').first().click();
    await expect.poll(() => page.evaluate<string>('location.hash')).toBe('#/devices?state=registered');
  });

  it('tells how long ago something was by the clock of the gateway, also where that of the browser is wrong', async () => {
    const page = await open({ hash: '#/devices' });
    const times = async () => {
      await page.locator('tbody td time').first().waitFor();
      return page.locator('tbody td time').allTextContents();
    };
    const right = await times();
    await page.clock.setFixedTime(today - 3 * 3_600_000);
    await page.reload();
    expect(await times()).toEqual(right);
  });

  it('connects anew by itself when the stream of events breaks, and catches up', async () => {
    const page = await open({ hash: '#/now' });
    await page.getByText('Live', { exact: true }).waitFor();
    gateway.fleet.line = [];
    gateway.breakStreams();
    await page.getByText('Connection lost').waitFor();
    await page.getByText('Live', { exact: true }).waitFor();
    await page.getByText('no device waits').waitFor();
  });

  it('draws no more than the last events when five hundred devices arrive in one second', async () => {
    const page = await open({ hash: '#/now' });
    await page.getByText('Live', { exact: true }).waitFor();
    for (let n = 0; n < 500; n += 1) gateway.emit('device', { serial: `STORM-${n}`, event: 'vended', outcome: 'ok' });
    await page.getByRole('link', { name: 'STORM-499' }).waitFor();
    expect(await page.locator('.feed li').count()).toBe(12);
  });

  it('names each thing that has failed, with its cure, before anything else', async () => {
    gateway.fleet.checks.push({
      id: 'policy',
      title: 'IoT policy',
      state: 'failed',
      says: 'cvm-device is not there',
      cure: 'Run cvm aws setup on the gateway.',
    });
    const page = await open({ hash: '#/now' });
    await page.getByRole('heading', { level: 1, name: 'One thing has failed' }).waitFor();
    await page.getByText('Run cvm aws setup on the gateway.').waitFor();
  });

  it('removes a device only after its serial was typed', async () => {
    const page = await open({ hash: '#/device/FAN-0001' });
    await page.getByRole('button', { name: 'Remove' }).click();
    const dialog = page.getByRole('dialog');
    expect(await dialog.getByRole('button', { name: 'Remove' }).isDisabled()).toBe(true);
    await dialog.getByLabel('Type FAN-0001 to confirm').fill('FAN-0001');
    await dialog.getByRole('button', { name: 'Remove' }).click();
    await page.getByRole('heading', { level: 1, name: 'Devices' }).waitFor();
    expect(gateway.fleet.devices.has('FAN-0001')).toBe(false);
  });

  it('says of each device that nothing was done to why, and what to do', async () => {
    const pump = gateway.fleet.devices.get('PUMP-0003');
    if (pump !== undefined) pump.state = 'provisioning';
    const page = await open({ hash: '#/devices?prefix=PUMP-000' });
    await page.getByText('9 match').waitFor();
    await page.getByLabel('Select all on this page').check();
    await page.getByRole('button', { name: 'Block', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Block', exact: true }).click();
    await page.getByRole('heading', { name: 'Nothing was done to 1 of 9' }).waitFor();
    await page.getByRole('dialog').getByText('try again in a minute').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
  });

  it('leads to the sign-in when the session has ended while only the stream was open', async () => {
    const page = await open({ hash: '#/now' });
    await page.getByText('Live', { exact: true }).waitFor();
    await opened?.context.clearCookies();
    gateway.breakStreams();
    await page.getByLabel('Password').waitFor();
  });

  it('blocks many devices at once, and moves a request to the front of the line', async () => {
    const page = await open({ hash: '#/devices?prefix=PUMP-000' });
    await page.getByText('9 match').waitFor();
    await page.getByLabel('Select all on this page').check();
    await page.getByRole('button', { name: 'Block', exact: true }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Block', exact: true }).click();
    await page.getByText('9 devices blocked').waitFor();
    expect(
      [...gateway.fleet.devices.values()].filter(
        (device) => device.serial.startsWith('PUMP-000') && device.state !== 'blocked',
      ),
    ).toEqual([]);
    expect(gateway.calls.every((call) => call.csrf === 'csrf-1')).toBe(true);
    await page.getByRole('link', { name: 'Line', exact: true }).click();
    await page.getByRole('button', { name: 'Move METER-0123 to the front' }).click();
    await page.getByRole('row', { name: /^1 METER-0123/ }).waitFor();
  });

  it('does not say that every device has connected before AWS was asked', async () => {
    for (const device of gateway.fleet.devices.values()) delete device.cameAlive;
    const page = await open({ hash: '#/silent' });
    await page.getByText('AWS has not been asked yet').waitFor();
  });

  it('asks no other host for anything', async () => {
    const page = await open();
    const hosts = new Set<string>();
    page.on('request', (request) => hosts.add(new URL(request.url()).host));
    for (const hash of ['#/devices', '#/labels', '#/help', '#/now']) {
      await page.goto(`${gateway.url}${hash}`);
      await page.locator('.loading').waitFor({ state: 'detached' });
    }
    await page.reload();
    await page.locator('.plot canvas').waitFor();
    expect([...hosts]).toEqual([new URL(gateway.url).host]);
  });
});

/** The name of what has the focus, as a screen reader would say it. */
const focused = (page: Page): Promise<string> =>
  page.evaluate<string>(`(() => {
    const element = document.activeElement;
    return (element.labels?.[0]?.textContent ?? element.getAttribute('aria-label') ?? element.textContent).trim();
  })()`);

/** Presses Tab until that has the focus. */
async function tabTo(page: Page, name: string): Promise<void> {
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press('Tab');
    if ((await focused(page)) === name) return;
  }
  throw new Error(`Tab never reached ${name}`);
}
