import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import type { ObjectMismatch } from '../../../../src/domain/index.ts';
import { bundleDocumentOf, foreignRoot } from '../../../support/bundle-endpoint.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import {
  agentId,
  createServicesWorld,
  id,
  local,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { nextTurn } from '../../../support/until.ts';
import { FederatedSource } from '../../../../src/services/sync/federated.ts';
import { ForeignBundles } from '../../../../src/services/federation/foreign-bundles.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';

const trust = (w: ServicesWorld, name: string): Promise<unknown> =>
  w.services.federation.create(local, {
    trustDomain: name,
    endpointUrl: `https://${name}/`,
    endpointProfile: 'https_spiffe',
    endpointSpiffeId: `spiffe://${name}/server`,
    webRoots: [],
    bundleDocument: Buffer.from(bundleDocumentOf({ roots: [foreignRoot(name)], sequence: 7 })),
  });

/** What an agent would get after a restart of the server. */
async function namesAfterRestart(w: ServicesWorld, agent = agentId('n1')): Promise<string> {
  const foreign = new ForeignBundles({
    federation: w.store.federation,
    onRevision: () => () => {},
    logger: silentLogger,
  });
  const { entries, objects } = w.store;
  const source = new FederatedSource({ entries, objects, foreign });
  return (await source.bundles([agent])).map(({ trustDomain }) => trustDomain).join(' ');
}

const another = bundleDocumentOf({ roots: [foreignRoot('a.test')] });
const anotherRoots = JSON.stringify(
  (JSON.parse(another) as { keys: { x5c: string[] }[] }).keys.map(({ x5c }) => x5c[0]),
);

test('what was altered past the log gives no agent a bundle, is announced, and can be taken away', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-federation-'));
  const path = join(dir, 'meshca.db');
  try {
    await using w = await createServicesWorld({}, { path, keys: new Map() });
    const seen: ObjectMismatch[] = [];
    w.store.objects.onMismatch((mismatch) => void seen.push(mismatch));
    await trust(w, 'a.test');
    await trust(w, 'b.test');
    const parentId = agentId('n1');
    await w.addEntry({ id: 'web', spiffeId: id('/web'), parentId, federatesWith: ['a.test'] });
    await w.addEntry({ id: 'db', spiffeId: id('/db'), parentId });
    assert.equal(await namesAfterRestart(w), 'a.test');
    const alter = (sql: string, ...values: string[]): unknown =>
      foreignSql(path, (database) => database.prepare(sql).run(...values));
    const changes: readonly (readonly [string, string, () => unknown])[] = [
      [
        'entry',
        'a.test',
        () => alter(`UPDATE entries SET federates_with = '["b.test"]' WHERE id = 'db'`),
      ],
      [
        'foreign-bundle',
        '',
        () =>
          alter(`UPDATE foreign_bundles SET roots = ? WHERE trust_domain = 'a.test'`, anotherRoots),
      ],
      [
        'federation',
        '',
        () =>
          alter(`UPDATE federation SET endpoint_url = 'https://x/' WHERE trust_domain = 'a.test'`),
      ],
    ];
    for (const [kind, names, change] of changes) {
      change();
      // reads of one turn share a snapshot
      await nextTurn();
      assert.equal(await namesAfterRestart(w), names, kind);
      assert.ok(
        seen.some((mismatch) => mismatch.kind === kind),
        kind,
      );
    }
    alter(`DELETE FROM federation WHERE trust_domain = 'b.test'`);
    await nextTurn();
    for (const name of ['a.test', 'b.test']) {
      await assert.rejects(trust(w, name), { code: 'OBJECT_NOT_IN_LOG' });
      await w.services.federation.delete(local, name, 'altered');
      await trust(w, name);
    }
    assert.equal(await namesAfterRestart(w), 'a.test');
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

test('creating trust and ending it need the verb on the whole trust domain, reading it the verb alone', async () => {
  await using w = await createServicesWorld();
  const [all, part, reader] = [
    await w.mint('/admin/all', true),
    await w.mint('/admin/part', true),
    await w.mint('/admin/reader', true),
  ];
  const role = (name: string, verbs: readonly string[], prefix: string) =>
    w.services.roles.put(local, {
      name,
      verbs: [...verbs],
      prefixes: [id(prefix)],
      members: [id(`/admin/${name}`)],
    });
  await role('all', ['federation.*'], '/');
  await role('part', ['federation.*'], '/team/');
  await role('reader', ['federation.read'], '/');
  const create = (caller: unknown): Promise<unknown> =>
    w.services.federation.create(caller as never, {
      trustDomain: 'a.test',
      endpointUrl: 'https://a.test/',
      endpointProfile: 'https_web',
      endpointSpiffeId: '',
      webRoots: [],
      bundleDocument: Buffer.alloc(0),
    });
  const remove = (caller: unknown): Promise<unknown> =>
    w.services.federation.delete(caller as never, 'a.test', '');
  for (const caller of [part, reader])
    await assert.rejects(create(caller), { code: 'ROLE_MISSING' });
  await create(all);
  assert.equal((await w.services.federation.list(reader as never)).length, 1);
  for (const caller of [part, reader])
    await assert.rejects(remove(caller), { code: 'ROLE_MISSING' });
  await remove(all);
  const kinds = ['federation.created', 'federation.deleted'];
  for (const kind of kinds) assert.equal((await w.audit(kind)).length, 1, kind);
});
