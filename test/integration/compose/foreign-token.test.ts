import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
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
