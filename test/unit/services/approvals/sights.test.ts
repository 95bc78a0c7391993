import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { serverId } from '../../../../src/common/spiffe/index.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import {
  agentId,
  createServicesWorld,
  id,
  local,
  selector,
  trustDomain,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const server = serverId(trustDomain).toString();

/** An admin's entry below a node, another below a set of nodes, a role's member, and a plain one. */
async function populated(w: ServicesWorld) {
  await w.services.roles.put(local, {
    name: 'ops',
    verbs: ['entry.read'],
    prefixes: [id('/')],
    members: [id('/ops/anna')],
  });
  const entries = {
    admin: await w.addEntry({
      spiffeId: id('/ops/root'),
      parentId: agentId('n1'),
      admin: true,
    }),
    set: await w.addEntry({
      spiffeId: id('/nodes/gateways'),
      parentId: server,
      selectors: [selector('x509pop:subject:cn:gateway')],
    }),
    below: await w.addEntry({ spiffeId: id('/ops/anna'), parentId: id('/nodes/gateways') }),
    plain: await w.addEntry({ spiffeId: id('/web'), parentId: agentId('n2') }),
  };
  const { sights } = w.services;
  const questions = {
    token: () => sights.tokenMatters('n1', []),
    nodeSet: () => sights.tokenMatters('n9', ['x509pop:subject:cn:gateway']),
    plainToken: () => sights.tokenMatters('n2', []),
    stored: () => sights.storedMatter([entries.admin]),
    plainStored: () => sights.storedMatter([entries.plain]),
    others: () => sights.othersMatter(new Set([entries.plain])),
    newSet: () =>
      sights.entriesMatter([
        { spiffeId: id('/nodes/gateways'), parentId: server, admin: false, downstream: false },
      ]),
  };
  const answers = async (): Promise<Readonly<Record<string, boolean | string>>> => {
    const found: Record<string, boolean | string> = {};
    for (const [name, ask] of Object.entries(questions))
      found[name] = await ask().catch((thrown: unknown) => PkiError.from(thrown).code);
    return found;
  };
  return { entries, answers };
}

test('what leads to an admin matters, by the log, and no changed row makes it not matter', async (context) => {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-sights-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const path = join(directory, 'store.db');
  await using w = await createServicesWorld({}, { path, keys: new Map() });
  const { entries, answers } = await populated(w);
  const honest = {
    ...{ token: true, nodeSet: true, plainToken: false, stored: true },
    ...{ plainStored: false, others: true, newSet: true },
  };
  assert.deepEqual(await answers(), honest);

  const altered: readonly (readonly [what: string, of: string, change: string])[] = [
    ['an admin is none', entries.admin, 'admin = 0'],
    ['an admin is elsewhere', entries.admin, `parent_id = '${agentId('n3')}'`],
    ['a member has another name', entries.below, `spiffe_id = '${id('/web2')}'`],
    ['a set is none', entries.set, `parent_id = '${agentId('n3')}'`],
  ];
  for (const [what, of, change] of altered) {
    const row = foreignSql(path, (database) => {
      const before = database.prepare('SELECT * FROM entries WHERE id = ?').get(of) as Record<
        string,
        string
      >;
      database.prepare(`UPDATE entries SET ${change} WHERE id = ?`).run(of);
      return before;
    });
    const found = await answers();
    for (const name of ['token', 'nodeSet', 'others', 'newSet', 'plainToken'])
      assert.equal(found[name], 'OBJECT_NOT_IN_LOG', `${what}: ${name}`);
    assert.equal(found['stored'], of === entries.admin ? 'OBJECT_NOT_IN_LOG' : true, what);
    foreignSql(path, (database) =>
      database
        .prepare('UPDATE entries SET admin = ?, parent_id = ?, spiffe_id = ? WHERE id = ?')
        .run(row['admin'] as string, row['parent_id'] as string, row['spiffe_id'] as string, of),
    );
    assert.deepEqual(await answers(), honest, `${what}: put back`);
  }

  foreignSql(path, (database) =>
    database.prepare('DELETE FROM entries WHERE id = ?').run(entries.admin),
  );
  const found = await answers();
  for (const name of ['token', 'nodeSet', 'others', 'newSet', 'plainToken', 'stored'])
    assert.equal(found[name], 'OBJECT_NOT_IN_LOG', `a row that is gone: ${name}`);
});
