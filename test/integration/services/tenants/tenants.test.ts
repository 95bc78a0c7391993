import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createCsr, generateKeyPairAsync, pemEncode } from '../../../../src/common/x509/index.ts';
import { databasePath } from '../../../../src/config/index.ts';
import { runCommand, type CommandEnd } from '../../../support/command.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';

let t: TestServer;
let csr: string;

before(async () => {
  t = await startTestServer({
    config: { names: { enabled: true }, issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' } },
  });
  csr = join(t.dir, 'a.csr');
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  writeFileSync(csr, pemEncode('CERTIFICATE REQUEST', createCsr(privateKey)));
});
after(async () => {
  await t?.[Symbol.asyncDispose]();
});

const run = (...args: readonly string[]): Promise<CommandEnd> => runCommand(t, args);
let files = 0;
const issue = (name: string): Promise<CommandEnd> => {
  const out = join(t.dir, `${(files += 1)}.pem`);
  return run('certificate', 'issue', '--csr', csr, '--out', out, '--name', name);
};

test('a tenant is made, shown in 80 columns, offboarded with its certificates, and deleted', async () => {
  const stated = [
    ...['tenant', 'create', 'shop', '--dns-suffix', 'shop.test', '--description', 'team shop'],
    ...['--spiffe-prefix', 'spiffe://mesh.test/shop/', '--quota', '2/24h'],
  ];
  const dry = await run(...stated, '--dry-run');
  assert.equal(dry.code, 0, dry.err);
  assert.match(dry.out, /nothing was changed/);
  const created = await run(...stated);
  assert.equal(created.code, 0, created.err);
  assert.match(created.out, /created shop: it owns shop\.test, spiffe:\/\/mesh\.test\/shop\//);

  for (const name of ['www.shop.test', 'api.shop.test']) assert.equal((await issue(name)).code, 0);
  assert.match((await issue('x.shop.test')).err, /TENANT_QUOTA_USED/);
  const terminal = { isTerminal: true, columns: 80, color: false };
  const listed = await runCommand(t, ['tenant', 'list'], { terminal });
  assert.match(listed.out, /shop +active/);
  for (const line of listed.out.split('\n')) assert.ok(line.length <= 80, line);
  const shown = await run('tenant', 'show', 'shop');
  assert.match(shown.out, /2 of 2 in 1 d/);
  assert.match(shown.out, /live certificates +2/);
  assert.match((await run('certificate', 'list', '--tenant', 'shop', '--json')).out, /www\.shop/);

  const raised = await run('tenant', 'update', 'shop', '--quota', 'none', '--json');
  assert.equal(JSON.parse(raised.out).tenant.quotaCertificates, 0);
  assert.deepEqual(JSON.parse(raised.out).tenant.dnsSuffixes, ['shop.test']);

  const counted = await run('tenant', 'end', 'shop', '--dry-run', '--json');
  const { certificates, endpoints, entries, roles, altered } = JSON.parse(counted.out);
  assert.deepEqual([certificates, endpoints, entries, roles, altered], [2, 2, 0, 0, []]);
  const plan = await run('tenant', 'end', 'shop', '--revoke', '--dry-run');
  assert.match(plan.out, /to revoke +2 certificates/);
  assert.equal((await issue('y.shop.test')).code, 0, 'the dry run has ended nothing');
  const ended = await run('tenant', 'end', 'shop', '--revoke', '--yes', '--reason', 'moved');
  assert.equal(ended.code, 0, ended.err);
  assert.match(ended.out, /revoked +3 certificates/);
  assert.match((await issue('z.shop.test')).err, /TENANT_ENDED/);
  assert.equal((await run('tenant', 'delete', 'shop', '--yes')).code, 0);
  assert.equal((await issue('z.shop.test')).code, 0);
});

test('a tenant that was altered past the log stops what is subject to tenants, until it is restored', async () => {
  assert.equal((await run('tenant', 'create', 'bank', '--dns-suffix', 'bank.test')).code, 0);
  const alter = (from: string, to: string): void =>
    foreignSql(databasePath(t.config), (database) =>
      database.exec(`UPDATE tenants SET dns_suffixes = replace(dns_suffixes, '${from}', '${to}')`),
    );
  alter('bank.test', 'none.test');
  await t.restart();
  assert.match((await issue('free.test')).err, /OBJECT_NOT_IN_LOG/);
  alter('none.test', 'bank.test');
  // the first refusal reads again, behind it
  await t.restart();
  assert.equal((await issue('a.bank.test')).code, 0);
});
