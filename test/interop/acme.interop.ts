import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { acmeDaemons } from './acme/daemons.ts';
import { startAcmeProduct } from './acme/product.ts';
import { acmeClients } from './acme/programs.ts';
import { playTable, tableText } from './acme/table.ts';
import { AcmeWorld } from './acme/world.ts';
import { foreignProgram } from './foreign-programs.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

test('clients of ACME that others wrote do all that they can do', async (t) => {
  const acme = foreignProgram('acme');
  const caddy = foreignProgram('caddy');
  const traefik = foreignProgram('traefik');
  const clients = [
    ...acmeClients(acme),
    ...acmeDaemons({ caddy: caddy[0] ?? '', traefik: traefik[0] ?? '' }),
  ];
  await using world = await AcmeWorld.open(acme.debian);
  await using server = await startAcmeProduct(world, clients.length);
  const outcomes = await playTable(clients, world, {
    server,
    say: ({ client, operation, result, seconds }) =>
      t.diagnostic(`${client}: ${operation}: ${result} (${seconds} s)`),
  });
  t.diagnostic(tableText(outcomes));
  const failed = outcomes.filter(({ result }) => result === 'failed');
  assert.deepEqual(
    failed.map(({ client, operation, why }) => `${client}: ${operation}: ${why}`),
    [],
  );
  // a client that does more or less than before changes the page for its users
  const page = readFileSync(join(root, 'docs', 'acme-clients.md'), 'utf8');
  assert.ok(page.includes(tableText(outcomes).trim()), tableText(outcomes));
});
