import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { createCsr } from '../../../src/common/x509/index.ts';
import type { DelegateCaller, OperatorCaller } from '../../../src/services/index.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import { createServicesWorld, id, local, newKey } from '../../support/services-world.ts';
import { nextTurn, until } from '../../support/until.ts';

/** What is done past the server, the code of the refusal, and what is announced. */
const alterations: readonly (readonly [sql: string, code: string, announced: string])[] = [
  [`DELETE FROM roles WHERE name = 'readers'`, 'ROLE_MISSING', 'role readers'],
  [`UPDATE roles SET members = '[]'`, 'ROLE_MISSING', 'role readers'],
  [`UPDATE roles SET name = 'others'`, 'OBJECT_NOT_IN_LOG', 'role readers'],
  [`UPDATE roles SET verbs = '["*"]'`, 'OBJECT_NOT_IN_LOG', 'role readers'],
  [`DELETE FROM delegations`, 'CALLER_NOT_ADMITTED', 'delegation'],
  [
    `UPDATE delegations SET client_id = 'spiffe://mesh.test/x'`,
    'CALLER_NOT_ADMITTED',
    'delegation',
  ],
  [`UPDATE delegations SET revoked_at = 1`, 'CALLER_NOT_ADMITTED', 'delegation'],
  [`UPDATE delegations SET expires_at = 1`, 'CALLER_NOT_ADMITTED', 'delegation'],
];

test('a role or delegation that somebody altered or took away is announced where it is missed', async (t) => {
  for (const [sql, code, object] of alterations)
    await t.test(sql, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'meshca-lost-'));
      const path = join(folder, 'meshca.db');
      try {
        await using w = await createServicesWorld({}, { path, keys: new Map() });
        const announced: string[] = [];
        w.store.objects.onMismatch(({ kind, id: found }) => announced.push(`${kind} ${found}`));
        const admin = (await w.mint('/alice', true)) as OperatorCaller;
        await w.services.roles.put(local, {
          name: 'readers',
          verbs: ['*.read'],
          prefixes: [id('/')],
          members: [id('/alice')],
        });
        await w.services.delegations.create(local, {
          clientId: id('/istiod'),
          patterns: [id('/ns/**')],
          maxTtlSeconds: 3600,
          keyTypes: [],
          dnsPatterns: [],
          ipRanges: [],
          wildcards: false,
          profile: '',
          expiresAt: 0,
        });
        const delegate = (await w.mint('/istiod', false)) as DelegateCaller;
        const act = async (): Promise<void> => {
          if (object.startsWith('role')) {
            await w.services.entries.list(admin, {}, { size: 1 });
            return;
          }
          const { outcomes } = await w.services.signing.sign(delegate, [
            {
              requestId: '',
              spiffeId: id('/ns/a'),
              dnsNames: [],
              ips: [],
              profile: '',
              csrDer: createCsr(newKey()),
              ttlSeconds: 0,
            },
          ]);
          const [outcome] = outcomes;
          if (outcome?.ok === false) throw outcome.error;
        };
        await act();
        assert.deepEqual(announced, []);
        foreignSql(path, (database) => database.exec(sql));
        // reads of one turn share a snapshot
        await nextTurn();
        assert.equal(
          await act().then(
            () => 'done',
            (thrown: unknown) => PkiError.from(thrown).code,
          ),
          code,
        );
        // the comparison in the background begins with a timer
        w.clock.advance(1);
        await until(() => announced.length > 0);
        const [first = ''] = announced as readonly string[];
        assert.ok(first.startsWith(object), first);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
});

test('a change of roles while they are read is no difference', async () => {
  await using w = await createServicesWorld();
  const announced: string[] = [];
  w.store.objects.onMismatch(({ kind, id: found }) => announced.push(`${kind} ${found}`));
  const admin = (await w.mint('/alice', true)) as OperatorCaller;
  const put = (name: string) =>
    w.services.roles.put(local, {
      name,
      verbs: ['*.read'],
      prefixes: [id('/')],
      members: [id('/alice')],
    });
  const list = () => w.services.entries.list(admin, {}, { size: 1 });
  await put('readers');
  await Promise.all(
    Array.from({ length: 20 }, async (_, at) => {
      await Promise.all([put('readers'), put(`role-${at}`), list()]);
      await Promise.all([w.services.roles.delete(local, `role-${at}`), list()]);
    }),
  );
  assert.deepEqual(announced, []);
});

test('an agent whose row was taken away is refused, and announced', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-lost-'));
  const path = join(folder, 'meshca.db');
  try {
    await using w = await createServicesWorld({}, { path, keys: new Map() });
    const announced: string[] = [];
    w.store.objects.onMismatch(({ kind, id: found }) => announced.push(`${kind} ${found}`));
    const { caller, svid } = await w.joinAgent('n1');
    foreignSql(path, (database) => {
      database.exec('PRAGMA foreign_keys = OFF');
      database.exec('DELETE FROM agents');
    });
    await nextTurn();
    const code = await w.callerOf(svid.leaf).then(
      () => 'admitted',
      (thrown: unknown) => PkiError.from(thrown).code,
    );
    assert.equal(code, 'CERTIFICATE_UNKNOWN');
    assert.deepEqual(announced, [`agent ${caller.spiffeId}`]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
