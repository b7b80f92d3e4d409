import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const image = readFileSync('Dockerfile', 'utf8');

it("the image's label has the version of package.json", () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(/^ARG VERSION=(.*)$/m.exec(image)?.[1]).toBe(version);
});

it('the image has no anonymous volume', () => expect(image).not.toMatch(/^VOLUME/m));
