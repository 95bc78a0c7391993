import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, type Logger } from '../../../src/common/runtime/index.ts';
import { createTokens } from '../../support/softhsm.ts';
import { codeOf, startTestServer } from '../../support/server.ts';

const entry = (id: string): object => ({
  id,
  spiffeId: `spiffe://mesh.test/${id}`,
  parentId: 'spiffe://mesh.test/meshca/agent/node-1',
  selectors: ['unix:uid:1'],
  profile: 'revocable',
});

test('without a CRL URL revocable entries and delegations are refused, and old ones named at start', async (context) => {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-revocable-'));
  context.after(() => rm(dir, { recursive: true, force: true }));
  const tokens = await createTokens();
  {
    await using server = await startTestServer({
      dir,
      tokens,
      config: { issuance: { crlBaseUrl: 'http://crl.test/crl' } },
    });
    const { results } = await server.admin('Entries/CreateEntries', { entries: [entry('before')] });
    assert.equal(results[0]?.outcome, 'entry');
  }
  const warned: object[] = [];
  const logger = {
    ...silentLogger,
    warn: (fields: object) => void warned.push(fields),
    child: () => logger,
  } as Logger;
  await using server = await startTestServer({ dir, tokens, logger });
  assert.ok(warned.some((each) => 'entries' in each && String(each.entries) === 'before'));
  const { results } = await server.admin('Entries/CreateEntries', { entries: [entry('later')] });
  assert.equal(results[0]?.problem?.code, 'INVALID_REQUEST');
  assert.match(results[0]?.problem?.next ?? '', /crlBaseUrl/);
  assert.equal(
    await codeOf(
      server.admin('Delegations/CreateDelegation', {
        delegation: {
          clientId: 'spiffe://mesh.test/plane',
          patterns: ['spiffe://mesh.test/apps/*'],
          maxTtlSeconds: 600,
          profile: 'revocable',
        },
      }),
    ),
    'INVALID_REQUEST',
  );
});
