import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import { parseCertificate } from '../../../src/common/x509/index.ts';
import type { OcspHash } from '../../../src/certs/index.ts';
import { newSerial } from '../../compliance/store/fixtures.ts';
import { makeOcspCa, ocspRequest } from '../../support/ocsp.ts';
import { day, ocspWorld, type OcspWorld } from '../../support/ocsp-world.ts';
import { until } from '../../support/until.ts';

const errorOf = async (world: OcspWorld, serial: string, hash?: OcspHash): Promise<string> => {
  const reply = await world.ask(serial, hash);
  return reply.kind === 'error' ? reply.error : reply.status;
};
const becomes = (world: OcspWorld, serial: string, status: string): Promise<void> =>
  until(async () => (await errorOf(world, serial)) === status, `${serial} is ${status}`);

suite('OCSP answers', () => {
  test('are there soon after a leaf is issued, and say soon that it is revoked', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const [good, gone] = [await world.issue(), await world.issue()];
    await becomes(world, good, 'good');
    await becomes(world, gone, 'good');
    world.clock.advance(100);
    await world.revoke(gone);
    await becomes(world, gone, 'revoked');
    for (const hash of ['sha1', 'sha256'] as const) {
      const revoked = await world.answer(gone, hash);
      assert.deepEqual([revoked.serialHex, revoked.status], [gone, 'revoked']);
      assert.deepEqual([revoked.revokedAt, revoked.reasonCode], [world.clock.now(), 1]);
      const answer = await world.answer(good, hash);
      assert.equal(answer.status, 'good');
      assert.equal(answer.nextUpdate, answer.producedAt + 4 * day);
    }
    assert.deepEqual(world.publisher.standing().waiting, 0);
  });

  test('are never given for what nobody issued here, and no request makes the token sign', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const [serial, short] = [await world.issue(), await world.issue({ profile: 'short' })];
    await becomes(world, serial, 'good');
    const { signatures } = world.token;
    const other = makeOcspCa({ notBefore: 1_700_000_000, notAfter: 1_900_000_000 });
    const { publisher, issuing, issuer } = world;
    const cases: readonly (readonly [string, string, Buffer])[] = [
      ['unauthorized', issuing.id, ocspRequest(issuer, newSerial())],
      ['unauthorized', issuing.id, ocspRequest(issuer, short)],
      ['unauthorized', issuing.id, ocspRequest(other.responder.issuer, serial)],
      ['unauthorized', 'nobody', ocspRequest(issuer, serial)],
      ['unauthorized', issuing.id, ocspRequest(issuer, serial, { hashOid: '1.3.36.3.2.1' })],
      ['malformedRequest', issuing.id, ocspRequest(issuer, serial, { times: 2 })],
      ['malformedRequest', issuing.id, Buffer.from('what')],
    ];
    for (const [error, id, request] of cases)
      assert.deepEqual(await publisher.reply(id, request), { kind: 'error', error });
    assert.equal(world.token.signatures, signatures);
  });

  test('are found again by a restart, which signs only what was missed', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const [good, gone] = [await world.issue(), await world.issue()];
    await becomes(world, good, 'good');
    await becomes(world, gone, 'good');
    await world.publisher.close();
    const missed = await world.issue();
    await world.revoke(gone);
    assert.equal(await errorOf(world, gone), 'tryLater', 'the log has the last word');
    const { signatures } = world.token;
    const before = await world.answer(good);
    await world.restart();
    assert.deepEqual(await world.answer(good), before);
    assert.equal(await errorOf(world, gone), 'revoked');
    assert.equal(await errorOf(world, missed), 'good');
    assert.equal(world.token.signatures, signatures + 4);
  });

  test('are signed anew before half of their life is over, and end with their leaf', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const serial = await world.issue({ notAfter: world.clock.now() + 3 * day });
    await becomes(world, serial, 'good');
    const first = await world.answer(serial);
    world.clock.advance(1.5 * day);
    await world.restart();
    assert.deepEqual(await world.answer(serial), first);
    world.clock.advance(0.6 * day);
    await world.restart();
    const second = await world.answer(serial);
    assert.equal(second.producedAt, world.clock.now());
    assert.equal(second.nextUpdate, world.clock.now() + 4 * day);
    world.clock.advance(day);
    assert.equal(await errorOf(world, serial), 'unauthorized');
    world.state.clockBelieved = false;
    await world.restart();
    assert.equal(await world.store.ocsp.count(), 1, 'a doubtful clock ends nothing');
    world.clock.advance(3 * day);
    await world.restart();
    assert.equal(await world.store.ocsp.count(), 1, 'also where the answer is due');
    world.state.clockBelieved = true;
    await world.restart();
    assert.equal(await world.store.ocsp.count(), 0);
  });

  test('are not renewed while they rest for others, and a revocation does not wait for that', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const [gone, good] = [await world.issue(), await world.issue()];
    for (const serial of [gone, good]) await becomes(world, serial, 'good');
    world.clock.advance(2.1 * day);
    // from here on each batch takes an hour, in which others sign
    const { token } = world;
    const sign = token.sign.bind(token);
    token.sign = (items) => {
      world.clock.advance(3_600);
      token.signatures += 1;
      return sign(items);
    };
    // ends with the rest
    void world.restart();
    await until(async () => (await world.answer(good)).producedAt > world.clock.now() - day);
    await world.revoke(gone);
    await becomes(world, gone, 'revoked');
  });

  test('are removed in parts once their leaves have ended, and a revocation does not wait for it', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const gone = await world.issue();
    await becomes(world, gone, 'good');
    const { ocsp } = world.store;
    let parts = 0;
    // as with many more: there is always another part
    ocsp.prune = async (_endedBefore, limit) => {
      parts += 1;
      if (parts === 1) await world.revoke(gone);
      const isDone = (await ocsp.bySerial(gone))?.revoked !== undefined;
      return isDone || parts > 1_000 ? 0 : limit;
    };
    await world.restart();
    assert.ok(parts > 1 && parts < 10, `${parts} parts`);
    assert.equal(await errorOf(world, gone), 'revoked');
  });

  test('come from one key, whose certificate is renewed at half of its life', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const serial = await world.issue({ notAfter: world.clock.now() + 40 * day });
    await becomes(world, serial, 'good');
    const first = await world.answer(serial);
    const ends = world.publisher.signerEnds().get(world.issuing.id);
    assert.equal(ends, world.clock.now() + 30 * day);
    for (let days = 0; days < 16; days += 2) {
      world.clock.advance(2 * day);
      await world.restart();
    }
    const later = await world.answer(serial);
    assert.ok(later.responderKeyHash.equals(first.responderKeyHash));
    assert.ok(!later.signerDer.equals(first.signerDer));
    assert.ok((world.publisher.signerEnds().get(world.issuing.id) ?? 0) > (ends ?? 0));
    const keys = await world.store.authorities.list({ kind: 'ocsp' });
    assert.deepEqual(
      keys.map(({ state, parentId, token }) => [state, parentId, token]),
      [['active', world.issuing.id, 'issuing']],
    );
    const { items } = await world.store.audit.list({ kind: 'ocsp.certified' }, { size: 10 });
    assert.equal(items.length, 2);
  });
});

suite('OCSP answers in trouble', () => {
  test('are still given while the token is lost, and go on when it is back', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const old = await world.issue();
    await becomes(world, old, 'good');
    world.token.lost = true;
    const fresh = await world.issue();
    await until(async () => (await errorOf(world, fresh)) === 'tryLater');
    world.clock.advance(3 * day);
    await world.restart();
    assert.equal(await errorOf(world, old), 'good');
    world.clock.advance(day);
    assert.equal(await errorOf(world, old), 'tryLater', 'an answer that ended is not given');
    world.token.lost = false;
    await world.restart();
    assert.equal(await errorOf(world, old), 'good');
    assert.equal(await errorOf(world, fresh), 'good');
  });

  test('need a key: it is made when the token is there, once', async () => {
    await using world = await ocspWorld();
    world.token.lost = true;
    await world.publisher.start();
    const serial = await world.issue();
    assert.equal(await errorOf(world, serial), 'tryLater');
    world.token.lost = false;
    await world.restart();
    assert.equal(await errorOf(world, serial), 'good');
    assert.equal((await world.store.authorities.list({ kind: 'ocsp' })).length, 1);
  });

  test('rest on no row: an inserted one gets no signature, an older one is not given', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const serial = await world.issue();
    await becomes(world, serial, 'good');
    const { ocsp } = world.store;
    const row = await ocsp.bySerial(serial);
    assert.ok(row !== undefined);
    const forged = newSerial();
    await ocsp.put([{ ...row, serial: forged, dueAt: 0 }]);
    await world.restart();
    assert.equal(await errorOf(world, forged), 'unauthorized');
    await world.revoke(serial);
    await becomes(world, serial, 'revoked');
    await ocsp.put([row]);
    assert.equal(await errorOf(world, serial), 'tryLater');
    await ocsp.drop([serial]);
    assert.equal(await errorOf(world, serial), 'unauthorized');
    await world.restart();
    assert.equal(await errorOf(world, serial), 'revoked');
  });

  test('are neither given nor signed while the database is not trusted', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const serial = await world.issue();
    await becomes(world, serial, 'good');
    world.state.held = true;
    const { signatures } = world.token;
    await world.restart();
    assert.equal(await errorOf(world, serial), 'tryLater');
    assert.equal(world.token.signatures, signatures);
  });

  test('come from another key after a certificate of their signer was revoked', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const serial = await world.issue();
    await becomes(world, serial, 'good');
    const first = await world.answer(serial);
    await world.revoke(unwrap(parseCertificate(first.signerDer)).serialHex);
    await until(async () => {
      const keys = await world.store.authorities.list({ kind: 'ocsp' });
      return (
        keys
          .map(({ state }) => state)
          .toSorted()
          .join() === 'active,retired'
      );
    });
    const next = await world.issue();
    await becomes(world, next, 'good');
    assert.ok(!(await world.answer(next)).responderKeyHash.equals(first.responderKeyHash));
    await world.restart();
    assert.deepEqual(await world.answer(serial), first, 'it is renewed when it is due');
    world.clock.advance(2.1 * day);
    await world.restart();
    assert.ok(!(await world.answer(serial)).responderKeyHash.equals(first.responderKeyHash));
    assert.equal((await world.store.authorities.list({ kind: 'ocsp' })).length, 2);
  });

  test('come from another key when that of their signer is no more in the token', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const serial = await world.issue();
    await becomes(world, serial, 'good');
    const [first] = await world.store.authorities.list({ kind: 'ocsp' });
    assert.ok(first !== undefined);
    world.token.keys.delete(first.ckaId);
    const next = await world.issue();
    await becomes(world, next, 'good');
    const keys = await world.store.authorities.list({ kind: 'ocsp' });
    assert.deepEqual(
      keys.map(({ id, state }) => `${id === first.id ? 'first' : 'next'} ${state}`).toSorted(),
      ['first retired', 'next active'],
    );
  });

  test('go on while their authority is old or tainted, and end when it is revoked', async () => {
    await using world = await ocspWorld();
    await world.publisher.start();
    const serial = await world.issue();
    await becomes(world, serial, 'good');
    await world.move('old');
    world.clock.advance(3 * day);
    await world.restart();
    assert.equal((await world.answer(serial)).producedAt, world.clock.now());
    await world.move('tainted');
    world.clock.advance(16 * day);
    await world.restart();
    assert.equal((await world.answer(serial)).producedAt, world.clock.now());
    await world.move('revoked');
    await world.restart();
    assert.equal(await errorOf(world, serial), 'unauthorized');
    const [key] = await world.store.authorities.list({ kind: 'ocsp' });
    assert.equal(key?.state, 'retired');
  });
});
