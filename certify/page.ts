import { htmlDocument, type Section } from '../gateway-sim/document.ts';
import { escapeHtml } from '../gateway-sim/plot.ts';
import { profileText } from './profile.ts';
import { brokenRules, outcomeWords, type Sheet, verdictOf } from './sheet.ts';

/** What a page says beside the sheet. */
export type About = {
  /** of the firmware, as its maker names it */
  readonly firmware?: string | undefined;
  /** ISO 8601, UTC */
  readonly startedAt: string;
  /** of cvm */
  readonly version: string;
};

/** The sheet as one HTML file to attach to a release: no script, nothing from outside. */
export function renderSheet(sheet: Sheet, about: About): string {
  const { firmware = sheet.serial } = about;
  return htmlDocument({
    headline: `${firmware}: ${verdictOf(sheet)}`,
    about: aboutHtml(sheet, about),
    table: '',
    sections: [rulesSection(sheet), casesSection(sheet)],
  });
}

function aboutHtml({ serial, profile }: Sheet, { startedAt, version }: About): string {
  const when = `${escapeHtml(startedAt.slice(0, 16).replace('T', ' '))} UTC`;
  const how = profile === undefined ? 'The device did not ask.' : `${escapeHtml(profileText(profile))}.`;
  return `Device <b>${escapeHtml(serial)}</b>, certified on ${when} by cvm ${escapeHtml(version)}. ${how}`;
}

function rulesSection(sheet: Sheet): Section {
  const broken = brokenRules(sheet);
  const title = 'What is to be mended';
  if (broken.length === 0) return { title, says: 'Nothing.', body: '' };
  const rows = broken.map(
    ({ rule, level, cause, cure, reference, cases }) =>
      `<tr><th scope="row">${escapeHtml(rule)}<br>${level === 'mandatory' ? 'must' : 'should'}</th><td>${escapeHtml(capital(cause))} (${escapeHtml(cases.join(', '))}).<br><b>Cure:</b> ${escapeHtml(cure)}.<br>${escapeHtml(reference)}</td></tr>`,
  );
  return {
    title,
    says: 'Each rule that the device broke, with the cases in which it did.',
    body: `<table>${rows.join('')}</table>`,
  };
}

function casesSection({ results }: Sheet): Section {
  const rows = results.map(
    ({ name, outcome, plays, wants, did }) =>
      `<tr><th scope="row">${escapeHtml(name)}<br>${escapeHtml(outcomeWords[outcome])}</th><td>The gateway ${escapeHtml(plays)}. The device ${escapeHtml(wants)}.<br><b>It did:</b> ${escapeHtml(did)}</td></tr>`,
  );
  return {
    title: 'Cases',
    says: 'What the gateway played, and what the device did, each with its second.',
    body: `<table>${rows.join('')}</table>`,
  };
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
