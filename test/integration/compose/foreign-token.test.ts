import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { PkiError } from '../../../src/common/errors/index.ts';
import { codeOf, startTestServer } from '../../support/server.ts';
import { createTokens } from '../../support/softhsm.ts';

test('a token of another database is refused, and taken with its own', async () => {
  await using tokens = await createTokens();
  const [own, other] = await Promise.all(
    ['own', 'other'].map((name) => mkdtemp(join(tmpdir(), `meshca-${name}-`))),
  );
  try {
    await (await startTestServer({ tokens, dir: own as string }))[Symbol.asyncDispose]();
    assert.equal(await codeOf(startTestServer({ tokens, dir: other as string })), 'TOKEN_FOREIGN');
    await using server = await startTestServer({ tokens, dir: own as string });
    assert.ok((await server.mint('spiffe://mesh.test/web')).serial.length > 0);
  } finally {
    for (const dir of [own, other]) await rm(dir as string, { recursive: true, force: true });
  }
});

test('a server whose trust domain was changed is refused, and starts with the one that it had', async () => {
  await using tokens = await createTokens();
  const dir = await mkdtemp(join(tmpdir(), 'meshca-name-'));
  try {
    await (await startTestServer({ tokens, dir }))[Symbol.asyncDispose]();
    await assert.rejects(
      startTestServer({ tokens, dir, config: { trustDomain: 'other.test' } }),
      ({ code, message }: PkiError) =>
        code === 'TRUST_DOMAIN_CHANGED' &&
        message.includes('mesh.test') &&
        message.includes('other.test'),
    );
    await using server = await startTestServer({
      tokens,
      dir,
      config: { trustDomain: 'mesh.test' },
    });
    assert.ok((await server.mint('spiffe://mesh.test/web')).serial.length > 0);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
