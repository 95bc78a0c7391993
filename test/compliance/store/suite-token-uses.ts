import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TokenUse } from '../../../src/domain/index.ts';
import type { TokenUsePlace } from '../../../src/store/ports/index.ts';
import { code, digest, event, start, type OpenStore } from './fixtures.ts';

type First = Omit<TokenUse, 'serial' | 'endedAt'>;

const use = (changes: Partial<First> = {}): First => ({
  id: digest(),
  issuer: 'ci',
  subject: 'repo:example/app',
  grantee: 'deploy',
  publicKeySha256: digest(),
  usedAt: start,
  expiresAt: start + 300,
  ...changes,
});
const bound = event('identity-token.bound');
const used = event('identity-token.used');
const ended = event('identity-token.ended');

/** Marks of tokens that count once. */
export function tokenUseCases(name: string, open: OpenStore): void {
  test(`${name}: of the first uses of a token at once one is marked, and recorded`, async () => {
    await using opened = await open();
    const { tokenUses, audit } = opened.store;
    const id = digest();
    assert.equal(await tokenUses.byId(id), undefined);
    const uses = Array.from({ length: 10 }, () => use({ id }));
    const marks = await Promise.all(uses.map((each) => tokenUses.bind(each, bound)));
    const [first] = uses as [First];
    for (const mark of marks) assert.deepEqual(mark, { ...first, serial: null, endedAt: null });
    assert.deepEqual(await tokenUses.byId(id), marks[0]);
    const { items } = await audit.list({ kind: 'identity-token.bound' }, { size: 10 });
    assert.equal(items.length, 1);
  });

  test(`${name}: a mark takes one certificate and one end, and a repetition changes nothing`, async () => {
    await using opened = await open();
    const { tokenUses } = opened.store;
    const { id } = await tokenUses.bind(use(), bound);
    await assert.rejects(tokenUses.settle(digest(), '0a', used), code('NOT_FOUND'));
    const settled = await tokenUses.settle(id, '0a', used);
    assert.equal(settled.serial, '0a');
    assert.deepEqual(await tokenUses.settle(id, '0a', used), settled);
    await assert.rejects(tokenUses.settle(id, '0b', used), code('CONFLICT'));
    await assert.rejects(tokenUses.end(digest(), start, ended), code('NOT_FOUND'));
    assert.equal((await tokenUses.end(id, start + 5, ended)).endedAt, start + 5);
    assert.equal((await tokenUses.end(id, start + 9, ended)).endedAt, start + 5);
    assert.equal((await tokenUses.bind(use({ id }), bound)).endedAt, start + 5);
  });

  test(`${name}: marks of tokens that have long ended are forgotten under the lease alone`, async () => {
    await using opened = await open();
    const { tokenUses, leases } = opened.store;
    const lease = await leases.acquire('pruning', 'me', start * 1000, 86_400_000);
    assert.ok(lease !== undefined);
    const marks = await Promise.all(
      [10, 20, 30, 500].map((seconds) =>
        tokenUses.bind(use({ expiresAt: start + seconds }), bound),
      ),
    );
    const prune = (limit: number, after?: TokenUsePlace) =>
      tokenUses.prune({ expiredBefore: start + 100, after }, limit, lease, ({ id }) =>
        event('identity-token.forgotten', id),
      );
    const first = await prune(2);
    assert.deepEqual([first.removed, first.next?.id], [2, marks[1]?.id]);
    assert.deepEqual(await prune(2, first.next), { removed: 1, next: undefined });
    assert.deepEqual(await prune(2), { removed: 0, next: undefined });
    const left = await Promise.all(marks.map(({ id }) => tokenUses.byId(id)));
    assert.deepEqual(
      left.map((mark) => mark?.expiresAt),
      [undefined, undefined, undefined, start + 500],
    );
    await leases.release(lease);
    assert.ok(await leases.acquire('pruning', 'other', start * 1000, 86_400_000));
    await assert.rejects(prune(2), code('LEASE_LOST'));
  });
}
