import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { keyTypes } from '../../../../src/common/x509/index.ts';
import { account, write } from '../../../compliance/store/acme-fixtures.ts';
import { foreignSql, insertRow, readRow } from '../../../support/foreign-sql.ts';
import {
  createServicesWorld,
  id,
  local,
  type ServicesWorld,
} from '../../../support/services-world.ts';

async function makeKey(w: ServicesWorld, tenant: string): Promise<string> {
  const { key } = await w.services.eabKeys.create(local, {
    ...{ tenant, description: '', dnsPatterns: [`*.${tenant}.test`], ipRanges: [], keyTypes },
    ...{ wildcards: false, profiles: ['short'], ttlSeconds: 0, proof: '', challengeTypes: [] },
    ...{ accounts: '', quotaCertificates: 0, quotaSeconds: 0, expiresAt: 0 },
  });
  return key.id;
}

async function makeAccount(w: ServicesWorld, tenant: string, eabKeyId: string): Promise<string> {
  const made = account({ tenant, eabKeyId, thumbprint: eabKeyId });
  const { event, ...options } = write('acme.account.created');
  const detail = { tenant, eabKey: eabKeyId };
  await w.store.acme.accounts.create(made, {
    ...options,
    event: { ...event, subject: made.id, detail },
  });
  return made.id;
}

const tenant = (name: string) => ({
  ...{ name, description: '', dnsSuffixes: [`${name}.test`], spiffePrefixes: [id(`/${name}/`)] },
  ...{ quotaCertificates: 0, quotaSeconds: 0 },
});

test('keys and accounts that were altered past the log end with the tenant that the log says', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'meshca-altered-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'meshca.db');
  await using w = await createServicesWorld({}, { path, keys: new Map() });
  const { tenants, eabKeys } = w.services;
  for (const name of ['shop', 'bank']) await tenants.create(local, tenant(name), { dryRun: false });
  const moved = await makeKey(w, 'shop');
  const altered = await makeKey(w, 'shop');
  const removed = await makeKey(w, 'shop');
  const kept = await makeKey(w, 'shop');
  const ofBank = await makeKey(w, 'bank');
  const movedAccount = await makeAccount(w, 'shop', moved);
  const keptAccount = await makeAccount(w, 'shop', kept);

  const before = foreignSql(path, (database) => {
    const row = readRow(database, 'eab_keys', `id = '${removed}'`);
    database.exec(`UPDATE eab_keys SET tenant = 'bank' WHERE id = '${moved}'`);
    database.exec(`UPDATE eab_keys SET dns_patterns = '["**"]' WHERE id = '${altered}'`);
    database.exec(`DELETE FROM eab_keys WHERE id = '${removed}'`);
    database.exec(`UPDATE acme_accounts SET tenant = 'bank' WHERE id = '${movedAccount}'`);
    return row;
  });
  const expected = [moved, altered, removed, movedAccount].toSorted();
  const idsOf = (objects: readonly { readonly id: string }[]) =>
    objects.map((object) => object.id).toSorted();
  const plan = await tenants.previewEnd(local, 'shop');
  assert.deepEqual(idsOf(plan.altered), expected);
  assert.deepEqual((await tenants.previewEnd(local, 'bank')).altered, []);

  await tenants.end(local, 'shop', 'offboarded');
  const deletion = await tenants.delete(local, 'shop', 'gone');
  assert.deepEqual([deletion.eabKeys, deletion.accounts], [4, 2]);
  assert.deepEqual(idsOf(deletion.altered), expected);
  assert.notEqual((await eabKeys.get(local, kept)).revokedAt, null);
  assert.equal((await w.store.acme.accounts.byId(keptAccount))?.status, 'revoked');
  assert.equal((await eabKeys.get(local, ofBank)).revokedAt, null, 'that of another tenant stays');
  assert.deepEqual(await w.store.acme.eabKeys.altered(), [], 'rows and log are the same again');

  // whoever kept a row puts it back
  foreignSql(path, (database) => insertRow(database, 'eab_keys', before));
  await assert.rejects(tenants.create(local, tenant('shop'), { dryRun: false }), {
    code: 'ALREADY_EXISTS',
  });
  await assert.rejects(eabKeys.secret(local, removed), { code: 'OBJECT_NOT_IN_LOG' });
});
