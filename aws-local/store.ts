import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

/** The account's objects, by kind and key. Private keys are not stored: AWS shows them once. */
export type Thing = {
  thingName: string;
  thingId: string;
  thingTypeName?: string;
  attributes: Record<string, string>;
  version: number;
};
export type Certificate = {
  certificateId: string;
  certificateArn: string;
  certificatePem: string;
  status: 'ACTIVE' | 'INACTIVE' | 'REVOKED';
  /** epoch seconds */
  creationDate: number;
  lastModifiedDate: number;
};
export type PolicyVersion = { versionId: string; document: string; isDefault: boolean; createDate: number };
export type Policy = { policyName: string; versions: PolicyVersion[]; lastVersion: number };
export type PolicyTarget = { policyName: string; target: string };
export type ThingPrincipal = { thingName: string; principal: string; exclusive: boolean };
/** A thing type or a thing group. Rows of earlier versions have no `createdAt`. */
export type Named = {
  name: string;
  id: string;
  /** epoch seconds */
  createdAt?: number;
  properties?: object;
  deprecatedAt?: number;
};
export type GroupMember = { thingGroupName: string; thingName: string };

/** `createdAt`: epoch seconds. */
export type RoleAlias = { roleAlias: string; roleArn: string; credentialDurationSeconds: number; createdAt: number };

/** Of the client whose id is the thing's name. `timestamp`: of the connect or the disconnect, epoch milliseconds. */
export type Connectivity = { thingName: string; connected: boolean; timestamp: number };

/** Of fleet indexing; one row, with the key 'things'. */
export type Indexing = { thingIndexingMode: string; thingConnectivityIndexingMode: string };

type Kinds = {
  thing: Thing;
  certificate: Certificate;
  policy: Policy;
  policyTarget: PolicyTarget;
  thingPrincipal: ThingPrincipal;
  thingType: Named;
  thingGroup: Named;
  groupMember: GroupMember;
  roleAlias: RoleAlias;
  connectivity: Connectivity;
  indexing: Indexing;
};

type Line = { kind: keyof Kinds; key: string; value?: unknown };

/**
 * State in memory. Each change is appended to a journal, so it survives a restart and a kill. A half-written last line is
 * dropped: its caller never got an answer.
 */
export function openStore(folder: string) {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, 'journal.jsonl');
  const tables = new Map<keyof Kinds, Map<string, unknown>>();

  function table<K extends keyof Kinds>(kind: K): Map<string, Kinds[K]> {
    const found = tables.get(kind) ?? new Map<string, unknown>();
    tables.set(kind, found);
    return found as Map<string, Kinds[K]>;
  }

  function apply({ kind, key, value }: Line): void {
    if (value === undefined) table(kind).delete(key);
    else (table(kind) as Map<string, unknown>).set(key, value);
  }

  for (const line of readLines(file)) apply(line);
  compact(file, tables);
  const journal = openSync(file, 'a', 0o600);

  function write(line: Line): void {
    apply(line);
    writeSync(journal, `${JSON.stringify(line)}\n`);
  }

  return {
    get<K extends keyof Kinds>(kind: K, key: string): Kinds[K] | undefined {
      return table(kind).get(key);
    },
    /** All of a kind, oldest first. */
    all<K extends keyof Kinds>(kind: K): Kinds[K][] {
      return [...table(kind).values()];
    },
    put<K extends keyof Kinds>(kind: K, key: string, value: Kinds[K]): void {
      write({ kind, key, value });
    },
    remove(kind: keyof Kinds, key: string): void {
      if (table(kind).has(key)) write({ kind, key });
    },
    close(): void {
      fsyncSync(journal);
      closeSync(journal);
    },
  };
}

export type Store = ReturnType<typeof openStore>;

function readLines(file: string): Line[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line, index, lines) => {
      try {
        return line === '' ? [] : [JSON.parse(line) as Line];
      } catch (error) {
        if (index >= lines.length - 2) return [];
        throw new Error(
          `${file}, line ${index + 1}: the journal is damaged: ${error instanceof Error ? error.message : error}`,
        );
      }
    });
}

function compact(file: string, tables: Map<keyof Kinds, Map<string, unknown>>): void {
  const lines = [...tables].flatMap(([kind, rows]) =>
    [...rows].map(([key, value]) => `${JSON.stringify({ kind, key, value })}\n`),
  );
  writeFileSync(`${file}.new`, lines.join(''), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
