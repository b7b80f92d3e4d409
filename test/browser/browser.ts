import axe from 'axe-core';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { find } from '../support/lacks.ts';
import { today } from './fake-fleet.ts';
import { type FakeGateway, password } from './fake-gateway.ts';

export const desktop = { width: 1366, height: 860 };
export const phone = { width: 390, height: 844 };

/** How long a page may take, in milliseconds: as long as every wait of a test (vitest.config.ts). The machine may be busy. */
const waitMs = 45_000;

/** Debian's chromium, without a window. One process serves all tests of a file, each with a context of its own. */
export function launchBrowser(): Promise<Browser> {
  const executablePath = find('chromium');
  if (executablePath === undefined) throw new Error('chromium is missing');
  // the sandbox needs user namespaces, which containers often lack; the pages are our own
  return chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--lang=en'],
  });
}

export type OpenOptions = {
  viewport?: typeof desktop;
  dark?: boolean;
  signedIn?: boolean;
  hash?: string;
  url?: string;
  ownTime?: boolean;
  /** a page of the same width and colours that is used again: a new one costs half a second of CPU */
  known?: Opened | undefined;
};

export type Opened = { readonly page: Page; readonly context: BrowserContext; readonly faults: string[] };

/** A fresh browser, or a known page, at the console, at the time of the made-up devices or (`ownTime`) of this machine; `faults` gathers what the page logs as an error, breaches of the content security policy included. */
export async function openConsole(
  browser: Browser,
  gateway: Pick<FakeGateway, 'url'>,
  {
    viewport = desktop,
    dark = false,
    signedIn = true,
    hash = '',
    url = gateway.url,
    ownTime = false,
    known,
  }: OpenOptions = {},
): Promise<Opened> {
  if (known !== undefined) {
    const { page, context, faults } = known;
    // what the test before left in the memory of the page ends here, and is no fault of the next one
    await page.goto('about:blank');
    faults.length = 0;
    if (signedIn) await signInBefore(context, gateway);
    if (!ownTime) await page.clock.setFixedTime(today);
    await openPage(page, `${url}${hash}`);
    return known;
  }
  const context = await browser.newContext({
    viewport,
    colorScheme: dark ? 'dark' : 'light',
    reducedMotion: 'reduce',
    locale: 'en-GB',
    timezoneId: 'UTC',
    acceptDownloads: true,
    hasTouch: viewport === phone,
    // the certificate of a gateway is by the CA of its site
    ignoreHTTPSErrors: true,
  });
  if (signedIn) await signInBefore(context, gateway);
  const page = await context.newPage();
  page.setDefaultTimeout(waitMs);
  if (!ownTime) await page.clock.setFixedTime(today);
  const faults: string[] = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => {
    // the browser logs refused requests and broken streams by itself
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      faults.push(message.text());
  });
  await openPage(page, `${url}${hash}`);
  return { page, context, faults };
}

const signInBefore = (context: BrowserContext, { url }: Pick<FakeGateway, 'url'>) =>
  context.addCookies([{ name: 'session', value: 's1', url }]);

/** A network interface that comes or goes on this machine ends every request of the browser. */
const openPage = (page: Page, url: string): Promise<unknown> =>
  page.goto(url).catch((error: Error) => {
    if (error.message.includes('ERR_NETWORK_CHANGED')) return page.goto(url);
    throw error;
  });

export async function signIn(page: Page, typed = password): Promise<void> {
  await page.getByLabel('Password').fill(typed);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation', { name: 'Pages' }).waitFor();
}

/** What axe-core finds of the serious kind, one line each: rule, and the first places. */
export async function seriousFindings(page: Page): Promise<string[]> {
  if (!(await page.evaluate<boolean>("'axe' in globalThis"))) await page.evaluate(axe.source);
  return await page.evaluate(async () => {
    const found = await (globalThis as unknown as { axe: typeof axe }).axe.run({
      resultTypes: ['violations'],
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    });
    return found.violations
      .filter((violation) => violation.impact === 'serious' || violation.impact === 'critical')
      .map(
        (violation) =>
          `${violation.id}: ${violation.nodes
            .slice(0, 3)
            .map((node) => `${node.html} ${node.any[0]?.message ?? ''}`)
            .join(' | ')}`,
      );
  });
}
