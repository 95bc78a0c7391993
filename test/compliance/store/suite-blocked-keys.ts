import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sha256Hex } from '../../../src/common/x509/index.ts';
import type { BlockedKey } from '../../../src/domain/index.ts';
import {
  activeAuthority,
  authority,
  digest,
  event,
  intent,
  issued,
  jwtMade,
  mayFinish,
  signed,
  start,
  type OpenStore,
} from './fixtures.ts';

const blocked = (changes: Partial<BlockedKey> = {}): BlockedKey => ({
  publicKeySha256: digest(),
  reason: 'stolen',
  blockedAt: start,
  blockedBy: 'uid:0',
  ...changes,
});
const act = event('key.blocked');

/** Keys for which nothing is issued any more. */
export function blockedKeyCases(name: string, open: OpenStore): void {
  test(`${name}: a block is durable, moves the revision, is recorded once, and is never undone`, async () => {
    await using opened = await open();
    const { blockedKeys, meta, audit } = opened.store;
    const key = blocked();
    const before = await meta.position();
    assert.deepEqual(await blockedKeys.block(key, act), key);
    assert.ok((await meta.position()).revision > before.revision);
    assert.deepEqual(
      await blockedKeys.block({ ...key, reason: 'again', blockedAt: start + 9 }, act),
      key,
    );
    assert.equal((await audit.list({ kind: 'key.blocked' }, { size: 10 })).items.length, 1);
    const again = await opened.reopen();
    assert.deepEqual(again.store.blockedKeys.get(key.publicKeySha256), key);
    assert.equal(again.store.blockedKeys.get(digest()), undefined);
  });

  test(`${name}: of a key that was blocked meanwhile the certificate is withheld, also in the same commit`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const asks = [1, 2, 3].map(() => intent({ authorityId }));
    const [first, same, other] = asks as [
      (typeof asks)[number],
      (typeof asks)[number],
      (typeof asks)[number],
    ];
    await store.issuance.recordIntents(asks);
    const finish = async (asked: typeof first): Promise<string> => {
      const key = { kind: 'key', publicKeySha256: asked.publicKeySha256 } as const;
      const [outcome] = await store.issuance.finish([signed(asked, [mayFinish(authorityId), key])]);
      return outcome?.state === 'withheld' ? outcome.code : (outcome?.state ?? 'none');
    };
    await store.blockedKeys.block(blocked({ publicKeySha256: first.publicKeySha256 }), act);
    assert.equal(await finish(first), 'KEY_BLOCKED');
    const inOneCommit = await Promise.all([
      store.blockedKeys.block(blocked({ publicKeySha256: same.publicKeySha256 }), act),
      finish(same),
    ]);
    assert.equal(inOneCommit[1], 'KEY_BLOCKED');
    assert.equal(await finish(other), 'issued');
  });

  test(`${name}: what a caller with a blocked key asked for is withheld`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const caller = await issued(store, authorityId, { notAfter: start + 3000 });
    const asked = intent({ authorityId });
    await store.issuance.recordIntents([asked]);
    await store.blockedKeys.block(blocked({ publicKeySha256: caller.publicKeySha256 }), act);
    const [outcome] = await store.issuance.finish([
      signed(asked, [mayFinish(authorityId), { kind: 'caller', serial: caller.serial }]),
    ]);
    assert.equal(outcome?.state === 'withheld' && outcome.code, 'CERTIFICATE_REVOKED');
  });

  test(`${name}: a recorded certificate of a blocked key answers no request again`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const { requester, requestId, publicKeySha256 } = await issued(store, authorityId, {
      notAfter: start + 3000,
    });
    const find = async () => [
      await store.issuance.findRequest(requester, requestId, publicKeySha256),
      ...(await store.issuance.findRequests([{ requester, requestId, publicKeySha256 }])),
    ];
    assert.ok((await find()).every((record) => record !== undefined));
    await store.blockedKeys.block(blocked({ publicKeySha256 }), act);
    assert.deepEqual(await find(), [undefined, undefined]);
  });

  test(`${name}: no authority with a blocked key is completed`, async () => {
    await using opened = await open();
    const { store } = opened;
    const made = authority({ kind: 'jwt' });
    await store.authorities.create(made, event('authority.prepare'));
    await store.blockedKeys.block(blocked({ publicKeySha256: sha256Hex(jwtMade.spkiDer) }), act);
    await assert.rejects(
      store.authorities.complete(
        { id: made.id, version: made.version },
        jwtMade,
        event('authority.imported'),
      ),
      { code: 'KEY_BLOCKED' },
    );
    assert.equal((await store.authorities.byId(made.id))?.state, 'preparing');
  });

  test(`${name}: blocked keys are listed in pages, each once`, async () => {
    await using opened = await open();
    const { blockedKeys } = opened.store;
    const keys = await Promise.all([1, 2, 3, 4, 5].map(() => blockedKeys.block(blocked(), act)));
    const listed: string[] = [];
    let after: string | undefined;
    do {
      const page = await blockedKeys.list({ size: 2, ...(after === undefined ? {} : { after }) });
      listed.push(...page.items.map(({ publicKeySha256 }) => publicKeySha256));
      after = page.next;
    } while (after !== undefined);
    assert.deepEqual(listed, keys.map(({ publicKeySha256 }) => publicKeySha256).sort());
  });
}
