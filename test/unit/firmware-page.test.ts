import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { statusCodes } from '../../protocol/problems.ts';
import { readGoldenPublish } from '../support/golden.ts';

const page = readFileSync('docs/firmware.md', 'utf8');
const measured = readFileSync('docs/performance.md', 'utf8');
const sizes = readFileSync('docs/protocol.md', 'utf8');
const fleet = readFileSync('docs/fleet-provisioning.md', 'utf8');
const bytesOf = (name: string) => readGoldenPublish(name).bytes;
const section = (heading: string) => page.slice(page.indexOf(`\n## ${heading}`)).split('\n## ')[1] ?? '';
const rowsOf = (text: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| ---'))
    .slice(1)
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );

describe('docs/firmware.md', () => {
  it('says what to do on every code', () => {
    const codes = rowsOf(section('What to do on each error')).map(([code = '']) => /^`(\w+)`$/.exec(code)?.[1]);
    expect(codes).toEqual(expect.arrayContaining(Object.keys(statusCodes)));
  });

  it('has the bytes that were measured, and the packets of the tables of sizes', () => {
    const rows = rowsOf(section('What it costs'));
    expect(rows.length).toBeGreaterThan(8);
    // the table of sizes has DER; compact is shorter by this
    const saved = bytesOf('cvm/accepted-csr-der-no-root-ca.cbor') - bytesOf('cvm/accepted-csr-compact.cbor');
    const compact = 824 - saved;
    expect(page).toContain(`| ${compact} |`);
    for (const [device = '', , , longest = '', bytes = ''] of rows) {
      expect(measured, device).toMatch(new RegExp(`\\| \\**${bytes}\\**( \\(\\+\\d+\\))? \\|`));
      const packet = Number(longest.replace(',', ''));
      if (![128, 256, compact].includes(packet))
        expect(sizes + fleet, device).toMatch(new RegExp(`\\| ${packet} +\\|`));
    }
  });

  it('leads to headings that are there', () => {
    for (const [, target = '', heading = ''] of page.matchAll(/\]\((\w[\w-]*\.md)?#([\w-]+)\)/g)) {
      const text = target === '' || target === undefined ? page : readFileSync(`docs/${target}`, 'utf8');
      const anchors = [...text.matchAll(/^#+ (.*)$/gm)].map(([, words = '']) =>
        words
          .toLowerCase()
          .replace(/[^\w\s-]/g, '')
          .replace(/ /g, '-'),
      );
      expect(anchors, `${target}#${heading}`).toContain(heading);
    }
  });
});
