import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acmeClients } from '../../../src/cli/option-values.ts';
import { runCommand } from '../../support/command.ts';
import { startTestServer } from '../../support/server.ts';

test('an operator makes an EAB key for a client, sees it again after a restart, and revokes it', async () => {
  await using server = await startTestServer();
  const run = async (...args: readonly string[]): Promise<string> => {
    const { code, out, err } = await runCommand(server, args);
    assert.equal(code, 0, err);
    return out;
  };
  await run('tenant', 'create', 'shop', '--dns-suffix', 'shop.test');
  const made = JSON.parse(
    await run(
      ...['acme', 'key', 'create', 'shop', '--dns-pattern', '*.shop.test', '--quota', '100/24h'],
      ...['--profile', 'short', '--description', 'the gateway', '--json'],
    ),
  );
  assert.match(made.macKey, /^[A-Za-z0-9_-]{43}$/);
  const shortId = made.id.slice(-8);
  await server.restart();
  const secret = (...args: readonly string[]) =>
    run('acme', 'key', 'show', shortId, '--secret', ...args);
  assert.match(await secret(), new RegExp(`MAC key +${made.macKey}`));
  for (const client of acmeClients) {
    const lines = await secret('--for', client);
    assert.ok(lines.includes(made.id) && lines.includes(made.macKey), lines);
  }
  assert.match(await run('acme', 'key', 'show', shortId), /quota +100 in 1 d/);
  assert.match(await run('acme', 'key', 'list'), /\*\.shop\.test/);
  assert.match(await run('acme', 'account', 'list'), /no ACME accounts/);
  assert.match(await run('acme', 'order', 'list', '--name', 'www.shop.test'), /no ACME orders/);
  assert.match(await run('acme', 'key', 'revoke', shortId, '--reason', 'leaked'), /^revoked /);
  assert.match(await run('acme', 'key', 'list'), /no EAB keys/);
  const refused = await runCommand(server, ['acme', 'key', 'show', made.id, '--secret']);
  assert.match(refused.err, /EAB_KEY_ENDED/);
  const records = await run(
    'audit',
    'list',
    '--kind',
    'eab-key.*',
    '--kind',
    'mac-key.*',
    '--json',
  );
  assert.ok(records.includes('"eab-key.shown"') && records.includes('"mac-key.made"'));
  assert.ok(!records.includes(made.macKey), 'no record has the MAC key');
});
