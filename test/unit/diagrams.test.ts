import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

/** What mermaid's grammar of sequence diagrams has, as far as the pages use it. A semicolon ends a statement there, and # begins a character reference. */
const statement =
  /^(sequenceDiagram|participant \w+ as [^;#]+|(\w+)(->>|-->>|-x|--x)(\w+): [^;#]+|Note over (\w+)(,\w+)?: [^;#]+|(alt|else|loop|opt) [^;#]+|end)$/;

const pages = readdirSync('docs').filter((name) => name.endsWith('.md'));
const diagrams = pages.flatMap((page) =>
  [
    ...readFileSync(`docs/${page}`, 'utf8').matchAll(
      /### ([^\n]+)\n(?:(?!###)[\s\S])*?```mermaid\n(sequenceDiagram[\s\S]*?)```/g,
    ),
  ].map(([, heading = '', text = '']) => [`${page}: ${heading}`, text.trim().split('\n')] as const),
);

describe('a sequence diagram', () => {
  it.each(diagrams)('can be drawn: each line is a statement, and each block is closed: %s', (_name, lines) => {
    const names = new Set<string>();
    let open = 0;
    for (const line of lines.map((each) => each.trim())) {
      const [, , from, , to, over, and] = statement.exec(line) ?? [];
      expect(line).toMatch(statement);
      const [, participant] = /^participant (\w+) /.exec(line) ?? [];
      if (participant !== undefined) names.add(participant);
      for (const name of [from, to, over, and?.slice(1)])
        if (name !== undefined) expect([...names], line).toContain(name);
      if (/^(alt|loop|opt) /.test(line)) open++;
      if (/^else /.test(line)) expect(open, line).toBeGreaterThan(0);
      if (line === 'end') open--;
    }
    expect(open).toBe(0);
  });

  it('is there for every flow of both dialects', () => {
    const shown = diagrams.map(([name]) => name).join('\n');
    for (const flow of [
      'rsa',
      'CSR',
      'pre-shared key',
      'pending',
      'reply is lost',
      'small packets',
      'Rejected',
      'time',
    ])
      expect(shown).toMatch(new RegExp(`^protocol.md: .*${flow}`, 'm'));
    for (const flow of ['CSR', 'no room', 'answer is lost', 'Rejected'])
      expect(shown).toMatch(new RegExp(`^fleet-provisioning.md: .*${flow}`, 'm'));
  });
});
