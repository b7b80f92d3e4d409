import { escapeHtml } from './plot.ts';

/** A heading, a sentence about what follows, and HTML. */
export type Section = { readonly title: string; readonly says: string; readonly body: string };

/**
 * One HTML file that is whole: no script, nothing from outside.
 * @param about and table are HTML
 */
export function htmlDocument({
  headline,
  about,
  table,
  sections,
}: {
  readonly headline: string;
  readonly about: string;
  readonly table: string;
  readonly sections: readonly Section[];
}): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(headline)}</title>
<style>${css}</style>
</head>
<body>
<main>
<h1>${escapeHtml(headline)}</h1>
<p class="about">${about}</p>
${table}
${sections
  .map(({ title, says, body }) => `<section><h2>${escapeHtml(title)}</h2><p>${escapeHtml(says)}</p>${body}</section>`)
  .join('\n')}
</main>
</body>
</html>
`;
}

const css = `
:root{color-scheme:light dark;--back:#fff;--text:#1d2530;--soft:#5b6675;--line:#d9dee5;--first:#1565c0;--second:#b85c00;--quota:#2e7d32}
@media (prefers-color-scheme:dark){:root{--back:#14181d;--text:#e6eaf0;--soft:#9aa6b5;--line:#343c47;--first:#6cb2ff;--second:#ffb26b;--quota:#7fd28a}}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:760px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 4px}
h2{font-size:1.15rem;margin:40px 0 4px}
p{margin:0 0 12px}
.about{color:var(--soft)}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:5px 12px 5px 0;border-bottom:1px solid var(--line);font-weight:400}
th{color:var(--soft)}
td.count{text-align:right;font-variant-numeric:tabular-nums}
td.wide{width:40%}
td.wide svg{height:12px}
svg{display:block;width:100%;height:auto}
svg text{font-size:12px;fill:var(--soft)}
.grid{stroke:var(--line);fill:none}
.axis{stroke:var(--soft);fill:none}
.line{fill:none;stroke-width:2.5}
.line.first{stroke:var(--first)}
.line.second{stroke:var(--second);stroke-width:2;stroke-dasharray:2 3}
.line.quota{stroke:var(--quota);stroke-dasharray:9 6}
.bar{fill:var(--first)}
.dot{fill:var(--first);fill-opacity:.45}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin:4px 0 0;padding:0;color:var(--soft);font-size:.9rem}
.legend .sample{display:inline-block;width:36px;height:6px;margin-right:8px;vertical-align:middle}
@media (max-width:560px){svg{overflow:visible}svg text{font-size:21px}.line{stroke-width:4}.line.second{stroke-width:3.5;stroke-dasharray:4 5}}
@media print{section{break-inside:avoid}}
`;
