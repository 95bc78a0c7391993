import { isDeepStrictEqual } from 'node:util';
import { foreignSql, type SqlRow } from '../foreign-sql.ts';
import { csr, order, www } from './attack.ts';
import type { AcmeClient, AcmeWorld, IssuedCertificate } from './world.ts';
import { acmeKey, base64url, binding, jws, type AcmeReply } from './wire.ts';

/** What decisions of ACME rest on, by table. */
export const loggedTables = ['tenants', 'eab_keys', 'acme_accounts', 'acme_orders'] as const;
type Table = (typeof loggedTables)[number];

/** Columns for searches. The log vouches for no value in them, and no decision rests on one. */
const searchColumns: ReadonlySet<string> = new Set([
  'validating',
  'ends_at',
  'lease_holder',
  'lease_expires_ms',
]);

export interface Stage {
  readonly world: AcmeWorld;
  readonly alice: AcmeClient;
  /** Of an order that is ready. */
  readonly ready: string;
  readonly issued: IssuedCertificate;
}

type Operation = readonly [
  name: string,
  rests: readonly Table[],
  (at: Stage) => Promise<AcmeReply>,
];

/** Each rests on rows of these tables. */
const operations: readonly Operation[] = [
  [
    'an order',
    loggedTables.filter((table) => table !== 'acme_orders'),
    ({ world, alice }) => alice.post(world.url('new-order'), order()),
  ],
  [
    'a renewal',
    loggedTables,
    ({ world, alice, issued }) =>
      alice.post(world.url('new-order'), { ...order(), replaces: issued.ariId }),
  ],
  ['finalizing', loggedTables, ({ alice, ready }) => alice.post(`${ready}/finalize`, csr(www))],
  [
    'a look at an order',
    ['acme_accounts', 'acme_orders'],
    ({ alice, ready }) => alice.post(ready, undefined),
  ],
  [
    'the end of an authorization',
    ['acme_accounts', 'acme_orders'],
    ({ alice, ready }) =>
      alice.post(`${ready.replace('/order/', '/authz/')}/0`, { status: 'deactivated' }),
  ],
  [
    'a download',
    ['acme_accounts', 'acme_orders'],
    ({ world, alice, issued }) => alice.post(world.url(`cert/${issued.serial}`), undefined),
  ],
  [
    'a revocation',
    ['acme_accounts', 'acme_orders'],
    ({ world, alice, issued }) =>
      alice.post(world.url('revoke-cert'), { certificate: base64url(issued.der) }),
  ],
  [
    'a change of the account',
    ['acme_accounts'],
    ({ alice }) => alice.post(alice.kid, { contact: ['mailto:mallory@example.org'] }),
  ],
  [
    'the end of the account',
    ['acme_accounts'],
    ({ alice }) => alice.post(alice.kid, { status: 'deactivated' }),
  ],
  [
    'a change of the key',
    ['acme_accounts'],
    ({ world, alice }) => {
      const [url, key] = [world.url('key-change'), acmeKey()];
      const inner = { account: alice.kid, oldKey: alice.key.jwk };
      return alice.post(url, jws({ alg: key.alg, jwk: key.jwk, url }, inner, key));
    },
  ],
  [
    'another account with the EAB key',
    ['tenants', 'eab_keys'],
    ({ world, alice }) => {
      const [url, key] = [world.url('new-account'), acmeKey()];
      const externalAccountBinding = binding(alice.eab, { url, jwk: key.jwk });
      return world.wire.post(url, { externalAccountBinding }, { key });
    },
  ],
];

export async function stageOf(world: AcmeWorld): Promise<Stage> {
  const alice = await world.account();
  return { world, alice, issued: await alice.certificate(), ready: await alice.order() };
}

/**
 * Alters each column of each row, one after another, and asks for every operation that rests on
 * it. Returns what was answered as if nothing were altered, had an effect, or was announced by
 * nobody.
 */
export async function alterEach(at: Stage, path: string): Promise<readonly string[]> {
  const wrong: string[] = [];
  for (const table of loggedTables)
    for (const { column, value } of alterations(path, table)) {
      const announced = new Set<string>();
      const stop = at.world.services.store.objects.onMismatch(({ kind }) => announced.add(kind));
      const before = await at.world.state();
      const restore = alter(path, { table, column, value });
      for (const [name, rests, ask] of operations) {
        if (!rests.includes(table)) continue;
        const { status, text } = await ask(at);
        if (status < 400) wrong.push(`${table}.${column} = ${value}: ${name} was answered ${text}`);
      }
      restore();
      stop();
      if (!isDeepStrictEqual(await at.world.state(), before))
        wrong.push(`${table}.${column} = ${value} had an effect`);
      if (announced.size === 0) wrong.push(`${table}.${column}: nobody was told`);
    }
  return wrong;
}

type Value = SqlRow[string];

interface Alteration {
  readonly column: string;
  /** An expression in SQL. */
  readonly value: string;
}

/** For each column of a table some other values. */
function alterations(path: string, table: Table): readonly Alteration[] {
  return foreignSql(path, (database) => {
    const row = database.prepare(`SELECT * FROM ${table} ORDER BY rowid LIMIT 1`).get() as SqlRow;
    return Object.entries(row)
      .filter(([column]) => !searchColumns.has(column))
      .flatMap(([column, value]) =>
        otherValues(column, value).map((other) => ({ column, value: other })),
      );
  });
}

/** Text that is JSON is also altered into JSON of other forms. */
function otherValues(column: string, value: Value): readonly string[] {
  if (value === null) return [nullColumns[column] ?? "'x'"];
  if (value instanceof Uint8Array) return [`x'${'07'.repeat(16)}'`];
  if (typeof value !== 'string') return [`${column} + 1`];
  const json = value.startsWith('[') || value.startsWith('{');
  return [`${column} || 'x'`, ...(json ? [`'[null]'`] : [])];
}

/** Columns that are null in a usual row, and do not hold text. */
const nullColumns: Readonly<Record<string, string>> = {
  revoked_at: '1',
  replaces: `x'${'01'.repeat(16)}'`,
};

/** Alters every row of the table. Returns what puts the values back. */
function alter(
  path: string,
  { table, column, value }: Alteration & { readonly table: Table },
): () => void {
  const rows = foreignSql(path, (database) => {
    const all = database.prepare(`SELECT rowid AS place, ${column} AS value FROM ${table}`).all();
    database.exec(`UPDATE ${table} SET ${column} = ${value}`);
    return all as { readonly place: number; readonly value: Value }[];
  });
  return () =>
    foreignSql(path, (database) => {
      const put = database.prepare(`UPDATE ${table} SET ${column} = ? WHERE rowid = ?`);
      for (const row of rows) put.run(row.value, row.place);
    });
}
