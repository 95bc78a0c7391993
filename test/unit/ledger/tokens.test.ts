import assert from 'node:assert/strict';
import test from 'node:test';
import { loggedObject, type JoinToken } from '../../../src/domain/index.ts';
import { Objects } from '../../../src/ledger/objects.ts';
import { ledgerTokens, type LedgerTokens } from '../../../src/ledger/tokens.ts';
import type { JoinTokenStore } from '../../../src/store/ports/index.ts';
import { joinToken, start } from '../../compliance/store/fixtures.ts';

const longestLifeSeconds = 3600;

/** What the log knows, and the rows that stand in the database, two to a page. */
function tokensOf(known: readonly JoinToken[], rows: readonly JoinToken[] = known): LedgerTokens {
  const objects = new Objects();
  for (const [at, token] of known.entries())
    objects.apply(
      { ...loggedObject('join-token', token), act: 'noun.verb', subject: 's', detail: {} },
      at + 1,
    );
  const store: Pick<JoinTokenStore, 'byHash' | 'list'> = {
    byHash: async (sha256) => rows.find(({ tokenSha256 }) => tokenSha256 === sha256),
    list: async ({ after }) => {
      const from = after === undefined ? 0 : rows.findIndex(({ id }) => id === after) + 1;
      const items = rows.slice(from, from + 2);
      return { items, next: from + 2 < rows.length ? items.at(-1)?.id : undefined };
    },
  };
  return ledgerTokens(store as JoinTokenStore, objects);
}

const awaited = (tokens: LedgerTokens, now: number, madeUntil = start): Promise<boolean> =>
  tokens.isAwaited({ madeUntil, now, longestLifeSeconds });

test('a token is awaited until it expires, or has led to a certificate', async () => {
  const tokens = tokensOf([joinToken({ expiresAt: start + 600 })]);
  assert.equal(await awaited(tokens, start + 599), true);
  assert.equal(await awaited(tokens, start + 600), false);
  assert.equal(await awaited(tokens, start, start - 1), false, 'it was made later');
  assert.equal(await awaited(tokensOf([joinToken({ resultSerial: '0a' })]), start), false);
  assert.equal(await awaited(tokensOf([]), start), false);
});

test('a token on a later page of the rows is awaited as well', async () => {
  const used = () => joinToken({ resultSerial: '0a' });
  assert.equal(await awaited(tokensOf([used(), used(), used(), joinToken()]), start), true);
});

test('a token that was altered or deleted past the log is awaited as long as one can live', async () => {
  const token = joinToken();
  for (const rows of [
    [],
    [{ ...token, resultSerial: '0a' }],
    [{ ...token, expiresAt: 0 }],
    [{ ...token, createdAt: start + 1 }],
  ]) {
    const tokens = tokensOf([token], rows);
    assert.equal(await awaited(tokens, start + longestLifeSeconds - 1), true, JSON.stringify(rows));
    assert.equal(await awaited(tokens, start + longestLifeSeconds), false);
  }
});

test('a token that was put in past the log brings nobody', async () => {
  assert.equal(await awaited(tokensOf([], [joinToken()]), start), false);
});

test('a token is found by its hash as the log has it, or refused', async () => {
  const token = joinToken();
  assert.deepEqual(await tokensOf([token]).byHash(token.tokenSha256), token);
  assert.equal(await tokensOf([token]).byHash('00'), undefined);
  const altered = tokensOf(
    [token],
    [{ ...token, nodeSelectors: [{ type: 'node', value: 'admin' }] }],
  );
  await assert.rejects(altered.byHash(token.tokenSha256), { code: 'OBJECT_NOT_IN_LOG' });
});
