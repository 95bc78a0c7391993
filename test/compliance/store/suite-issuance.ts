import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { canonicalBytes } from '../../../src/domain/index.ts';
import {
  mayFinish,
  activeAuthority,
  agentId,
  code,
  digest,
  event,
  intent,
  issued,
  newSerial,
  signed,
  start,
  type OpenStore,
} from './fixtures.ts';

export function issuanceCases(name: string, open: OpenStore): void {
  test(`${name}: an intent is on record at once and becomes the issued certificate, in the place of its TBS`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const one = intent({ authorityId });
    await store.issuance.recordIntents([one]);
    const before = await store.certificates.bySerial(one.serial);
    assert.equal(before?.state, 'intent');
    assert.equal(before?.certificateDer, null);
    const item = signed(one, [mayFinish(authorityId)]);
    assert.deepEqual(await store.issuance.finish([item]), [{ state: 'issued' }]);
    const after = await store.certificates.bySerial(one.serial);
    assert.equal(after?.state, 'issued');
    assert.equal(after?.sequence, before?.sequence);
    assert.equal(after?.certificateDer?.toString(), `certificate ${one.serial}`);
    assert.equal(after?.sha256, item.kind === 'signed' ? item.sha256 : '');
    assert.deepEqual(
      [after?.publicKeySha256, after?.requestId, after?.holder],
      [one.publicKeySha256, one.requestId, agentId],
    );
    const { items } = await store.audit.list({ subject: one.serial }, { size: 10 });
    assert.deepEqual(
      items.map(({ kind }) => kind),
      ['certificate.issued'],
    );
    assert.deepEqual(items[0]?.canonical, canonicalBytes(item.event));
  });

  test(`${name}: a batch with one serial that is taken leaves none of its intents`, async () => {
    await using opened = await open();
    const { store } = opened;
    const first = intent();
    await store.issuance.recordIntents([first]);
    const others = [intent(), intent({ serial: first.serial }), intent()];
    await assert.rejects(store.issuance.recordIntents(others), code('ALREADY_EXISTS'));
    assert.equal(await store.certificates.bySerial(others[0]!.serial), undefined);
    assert.equal((await store.certificates.countByState()).intent, 1);
  });

  test(`${name}: a batch that fails among concurrent ones disturbs none of them`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const taken = await issued(store, authorityId);
    const calls = Array.from({ length: 40 }, (_, index) => {
      const batch = [
        intent({ authorityId }),
        intent(index % 4 === 0 ? { serial: taken.serial } : { authorityId }),
      ];
      return { batch, call: store.issuance.recordIntents(batch) };
    });
    const results = await Promise.allSettled(calls.map(({ call }) => call));
    for (const [index, { batch }] of calls.entries()) {
      const refused = index % 4 === 0;
      assert.equal(results[index]?.status, refused ? 'rejected' : 'fulfilled');
      assert.equal(
        (await store.certificates.bySerial(batch[0]!.serial))?.state,
        refused ? undefined : 'intent',
      );
    }
    const finished = await Promise.all(
      calls
        .filter((_, index) => index % 4 !== 0)
        .map(({ batch }) =>
          store.issuance.finish(batch.map((one) => signed(one, [mayFinish(authorityId)]))),
        ),
    );
    assert.ok(finished.flat().every(({ state }) => state === 'issued'));
    assert.deepEqual(await store.certificates.countByState(), {
      intent: 0,
      issued: 61,
      withheld: 0,
      refused: 0,
      abandoned: 0,
    });
    const { items } = await store.audit.list({ kind: 'certificate.issued' }, { size: 1000 });
    assert.equal(items.length, 61);
    const all = await store.audit.list({}, { size: 1000 });
    assert.deepEqual(
      all.items.map(({ sequence }) => sequence),
      all.items.map((_, index) => index + 1),
    );
  });

  test(`${name}: refused and abandoned intents keep their reason; outcomes keep the order of items`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const [a, b, c] = [intent({ authorityId }), intent({ authorityId }), intent({ authorityId })];
    await store.issuance.recordIntents([a, b, c]);
    const outcomes = await store.issuance.finish([
      {
        kind: 'refused',
        serial: b.serial,
        code: 'CSR_SIGNATURE_INVALID',
        event: event('certificate.refused', b.serial),
      },
      signed(a, [mayFinish(authorityId)]),
      {
        kind: 'abandoned',
        serial: c.serial,
        reason: 'signer lost',
        event: event('certificate.abandoned', c.serial),
      },
    ]);
    assert.deepEqual(outcomes, [{ state: 'refused' }, { state: 'issued' }, { state: 'abandoned' }]);
    assert.equal(
      (await store.certificates.bySerial(b.serial))?.stateReason,
      'CSR_SIGNATURE_INVALID',
    );
    assert.equal((await store.certificates.bySerial(c.serial))?.stateReason, 'signer lost');
  });

  test(`${name}: what is no intent any more, or never was, can not be finished`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const one = intent({ authorityId });
    await store.issuance.recordIntents([one]);
    await store.issuance.abandonIntents('restart', start * 1000);
    const stranger = intent({ authorityId });
    const outcomes = await store.issuance.finish([
      signed(one, [mayFinish(authorityId)]),
      signed(stranger, [mayFinish(authorityId)]),
      signed({ ...one, serial: 'no hex' }, [mayFinish(authorityId)]),
    ]);
    assert.deepEqual(
      outcomes.map((outcome) => outcome.state === 'withheld' && outcome.code),
      ['CONFLICT', 'CONFLICT', 'CONFLICT'],
    );
    assert.equal((await store.certificates.bySerial(one.serial))?.state, 'abandoned');
    assert.equal((await store.certificates.bySerial(one.serial))?.certificateDer, null);
    assert.deepEqual(
      (await store.audit.list({ kind: 'certificate.withheld' }, { size: 10 })).items.length,
      3,
    );
    assert.deepEqual(await store.certificates.countByState(), {
      intent: 0,
      issued: 0,
      withheld: 0,
      refused: 0,
      abandoned: 1,
    });
  });

  test(`${name}: the same intent finished twice at once is issued once`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const one = intent({ authorityId });
    await store.issuance.recordIntents([one]);
    const outcomes = (
      await Promise.all(
        [1, 2, 3].map(() => store.issuance.finish([signed(one, [mayFinish(authorityId)])])),
      )
    ).flat();
    assert.deepEqual(outcomes.map(({ state }) => state).sort(), ['issued', 'withheld', 'withheld']);
  });

  test(`${name}: intents found after a restart are abandoned once, each with its record in the log`, async () => {
    await using first = await open();
    const { id: authorityId } = await activeAuthority(first.store);
    const done = await issued(first.store, authorityId);
    const left = [intent({ authorityId }), intent({ authorityId })];
    await first.store.issuance.recordIntents(left);
    const { store } = await first.reopen();
    const abandoned = await store.issuance.abandonIntents('found at start', start * 1000);
    assert.deepEqual(
      abandoned.map(({ serial, state }) => [serial, state]),
      left.map(({ serial }) => [serial, 'abandoned']),
    );
    assert.deepEqual(await store.issuance.abandonIntents('again', start * 1000), []);
    assert.equal((await store.certificates.bySerial(done.serial))?.state, 'issued');
    assert.equal(
      (await store.audit.list({ kind: 'certificate.abandoned' }, { size: 10 })).items.length,
      2,
    );
    await store.close();
  });

  test(`${name}: a repeated request finds its certificate by requester, request ID and key together`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const one = await issued(store, authorityId);
    const key = {
      requester: one.requester,
      requestId: one.requestId,
      publicKeySha256: one.publicKeySha256,
    };
    assert.equal(
      (await store.issuance.findRequest(key.requester, key.requestId, key.publicKeySha256))?.serial,
      one.serial,
    );
    const others = [
      { ...key, requester: `${agentId}2` },
      { ...key, requestId: uuidv7() },
      { ...key, publicKeySha256: digest() },
      { ...key, requestId: '' },
    ];
    assert.deepEqual(
      (await store.issuance.findRequests([...others, key])).map((found) => found?.serial),
      [undefined, undefined, undefined, undefined, one.serial],
    );
    const open2 = intent({ authorityId });
    await store.issuance.recordIntents([open2]);
    assert.equal(
      await store.issuance.findRequest(open2.requester, open2.requestId, open2.publicKeySha256),
      undefined,
      'an intent is no answer',
    );
    const odd = await issued(store, authorityId, { requestId: 'not a uuid' });
    assert.equal(
      (await store.issuance.findRequest(odd.requester, 'not a uuid', odd.publicKeySha256))?.serial,
      odd.serial,
    );
  });

  test(`${name}: an intent of an earlier process can be ended, and none of a failed commit can`, async () => {
    await using opened = await open();
    const { id: authorityId } = await activeAuthority(opened.store);
    const old = await issued(opened.store, authorityId);
    const next = intent({ authorityId, replaces: old.serial });
    await opened.store.issuance.recordIntents([next]);
    const { store } = await opened.reopen();
    const failed = intent({ authorityId });
    await assert.rejects(
      store.issuance.recordIntents([failed, intent({ serial: old.serial })]),
      code('ALREADY_EXISTS'),
    );
    const items = [next, failed].map((one) => signed(one, [mayFinish(authorityId)]));
    const [ended, conflict] = await store.issuance.finish(items);
    assert.deepEqual(ended, { state: 'issued' });
    assert.equal(conflict?.state === 'withheld' && conflict.code, 'CONFLICT');
    assert.equal((await store.certificates.bySerial(old.serial))?.replacedBy, next.serial);
  });

  test(`${name}: only the same holder confirms a replacement, which then no longer counts as live`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const old = await issued(store, authorityId);
    const thief = 'spiffe://example.org/meshca/agent/thief';
    await issued(store, authorityId, { holder: thief, replaces: old.serial });
    assert.equal((await store.certificates.bySerial(old.serial))?.replacedBy, null);
    await store.issuance.confirmReplaced(agentId, [old.serial], start);
    assert.equal(
      (await store.certificates.bySerial(old.serial))?.replacementConfirmedAt,
      null,
      'nothing replaced it yet',
    );
    const next = await issued(store, authorityId, { replaces: old.serial });
    assert.equal((await store.certificates.bySerial(old.serial))?.replacedBy, next.serial);
    assert.equal(await store.certificates.countLive({ holder: agentId }, start), 2);
    await store.issuance.confirmReplaced(thief, [old.serial], start + 5);
    assert.equal(await store.certificates.countLive({ holder: agentId }, start), 2);
    await store.issuance.confirmReplaced(agentId, [old.serial, newSerial(), 'zz'], start + 5);
    await store.issuance.confirmReplaced(agentId, [old.serial], start + 9);
    assert.equal(
      (await store.certificates.bySerial(old.serial))?.replacementConfirmedAt,
      start + 5,
    );
    assert.equal(await store.certificates.countLive({ holder: agentId }, start), 1);
  });

  test(`${name}: certificates of an exited process count as replaced, except the named one`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const server = { holder: 'server', requester: 'server', kind: 'server' as const };
    const lost = intent({ ...server, authorityId });
    await store.issuance.recordIntents([lost]);
    await store.issuance.abandonIntents('SERVER_RESTART', start * 1000);
    const [old, present] = [
      await issued(store, authorityId, server),
      await issued(store, authorityId, server),
    ];
    const leaf = await issued(store, authorityId);
    await store.issuance.confirmGone('server', 'server', present.serial, start + 5);
    const confirmed = await Promise.all(
      [lost, old, present, leaf].map(
        async ({ serial }) => (await store.certificates.bySerial(serial))?.replacementConfirmedAt,
      ),
    );
    assert.deepEqual(confirmed, [start + 5, start + 5, null, null]);
    assert.equal(await store.certificates.countLive({ holder: 'server' }, start), 1);
  });

  test(`${name}: malformed digests are refused and change nothing`, async () => {
    await using opened = await open();
    const { store } = opened;
    await assert.rejects(
      store.issuance.recordIntents([intent(), intent({ publicKeySha256: 'abc' })]),
      code('INVALID_REQUEST'),
    );
    await assert.rejects(
      store.issuance.recordIntents([intent({ serial: '' })]),
      code('INVALID_REQUEST'),
    );
    assert.equal((await store.certificates.countByState()).intent, 0);
  });

  test(`${name}: JWT-SVIDs are recorded with their log entry, each jti once; the highest expiry rises`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    await store.issuance.raiseJwtExpiry(authorityId, start + 300);
    await store.issuance.raiseJwtExpiry(authorityId, start + 100);
    assert.equal(await store.authorities.highestJwtExpiry(authorityId), start + 300);
    const record = {
      jti: uuidv7(),
      subject: 'spiffe://example.org/web',
      audience: ['a', 'b'],
      issuedAt: start,
      expiresAt: start + 600,
      authorityId,
      entryId: 'e',
      holder: agentId,
      rights: [mayFinish(authorityId)],
      event: event('jwt.issued'),
    };
    assert.deepEqual(await store.issuance.recordJwtSvids([record]), [{ state: 'issued' }]);
    assert.equal(await store.authorities.highestJwtExpiry(authorityId), start + 600);
    await assert.rejects(
      store.issuance.recordJwtSvids([{ ...record, jti: uuidv7() }, record]),
      code('ALREADY_EXISTS'),
    );
    assert.equal((await store.audit.list({ kind: 'jwt.issued' }, { size: 10 })).items.length, 1);
    const [withheld] = await store.issuance.recordJwtSvids([
      {
        ...record,
        jti: uuidv7(),
        rights: [mayFinish(authorityId), { kind: 'entry', id: 'gone', revision: 1 }],
      },
    ]);
    assert.equal(withheld?.state === 'withheld' && withheld.code, 'ENTRY_NOT_AUTHORIZED');
    assert.equal((await store.audit.list({ kind: 'jwt.withheld' }, { size: 10 })).items.length, 1);
    await assert.rejects(store.issuance.raiseJwtExpiry('none', start), code('NOT_FOUND'));
  });
}
