import { describe, expect, it } from 'vitest';
import { contentSecurityPolicy, readWebFiles } from '../../console/web-files.ts';

describe('the files of the console', () => {
  const files = readWebFiles();
  const page = files.get('/')?.body.toString() ?? '';
  const links = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link = '']) => link);

  it('are a page that links only to files that are there, and needs no script or style within it', () => {
    expect(links.length).toBeGreaterThan(5);
    expect(links.filter((link) => !files.has(`/${link}`))).toEqual([]);
    expect(page).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=/);
    expect(contentSecurityPolicy).not.toContain('unsafe');
  });

  it('are named at once in the page where the first page needs them, those of other packages included', () => {
    const preloaded = [...page.matchAll(/<link rel="modulepreload"[^>]* href="[^"]*?\/([^"/]+\.js)">/g)].map(
      ([, name]) => name,
    );
    expect(preloaded).toEqual(
      expect.arrayContaining(['main.js', 'preact.js', 'hooks.js', 'htm.js', 'en.js', 'now.js']),
    );
    // what the first page draws later, or another page needs
    expect(preloaded).not.toContain('uplot.js');
    expect(preloaded).not.toContain('uqr.js');
  });

  it('import each other by paths that a browser resolves', () => {
    for (const [path, { body }] of files) {
      if (!path.endsWith('.js')) continue;
      const specifiers = [...body.toString().matchAll(/(?:\bfrom\s*|\bimport\s*\(\s*)['"]([\w./@-]+)['"]/g)].map(
        ([, name = '']) => name,
      );
      for (const specifier of specifiers.filter((each) => !each.endsWith('.d.ts'))) {
        const target = new URL(specifier, `http://gateway${path}`).pathname;
        expect([path, specifier, files.has(target)]).toEqual([path, specifier, true]);
      }
    }
  });

  it('never change below the address that they have, and the page is asked for anew each time', () => {
    expect(files.get('/')?.cacheControl).toBe('no-cache');
    for (const [path, file] of files) {
      if (path === '/') continue;
      expect(path).toMatch(/^\/assets\/[\w-]{12}\//);
      expect(file.cacheControl).toContain('immutable');
    }
  });

  it('are few and small enough for a slow machine', () => {
    const first = ['/', ...links.map((link) => `/${link}`)].map((path) => files.get(path));
    const bytes = first.reduce((sum, file) => sum + (file?.gzip ?? file?.body ?? '').length, 0);
    expect(bytes).toBeLessThan(60_000);
  });

  it('hold no types and no pages for people', () => {
    expect([...files.keys()].filter((path) => /\.d\.ts$|\.md$|\.json$/.test(path))).toEqual([]);
  });
});
