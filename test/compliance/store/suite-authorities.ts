import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { parseCertificate } from '../../../src/common/x509/index.ts';
import {
  authorityStates,
  legalTransitions,
  type BundleRevision,
  type Position,
} from '../../../src/domain/index.ts';
import {
  activeAuthority,
  authority,
  code,
  event,
  jwtMade,
  rootDer,
  rootSerial,
  start,
  type OpenStore,
} from './fixtures.ts';

const bundle = (sequence: number): BundleRevision => ({
  sequence,
  document: `{"spiffe_sequence":${sequence}}`,
  jws: 'a.b.c',
  createdAt: start,
});

export function authorityCases(name: string, open: OpenStore): void {
  test(`${name}: an authority is recorded before its key, and complete with its inventory certificate`, async () => {
    await using opened = await open();
    const { store } = opened;
    const root = authority({
      kind: 'root',
      token: 'root',
      scope: { share: 0.5, selectors: ['a:b'], region: 'eu' },
    });
    await store.authorities.create(root, event('authority.created', root.id));
    assert.deepEqual(await store.authorities.byId(root.id), root);
    await assert.rejects(
      store.authorities.create(root, event('authority.created')),
      code('ALREADY_EXISTS'),
    );
    await assert.rejects(
      store.authorities.create(authority({ ckaId: root.ckaId }), event('authority.created')),
      code('ALREADY_EXISTS'),
    );
    await assert.rejects(
      store.authorities.create(authority({ state: 'active' }), event('authority.created')),
      code('CONFLICT'),
    );
    const parsed = parseCertificate(rootDer);
    assert.ok(parsed.ok);
    const made = {
      spkiDer: parsed.value.spkiDer,
      certificateDer: rootDer,
      subjectKeyId: 'ab',
      notBefore: parsed.value.notBefore,
      notAfter: parsed.value.notAfter,
    };
    await assert.rejects(
      store.authorities.complete({ id: root.id, version: 2 }, made, event('authority.prepared')),
      code('CONFLICT'),
    );
    await assert.rejects(
      store.authorities.complete({ id: 'none', version: 1 }, made, event('authority.prepared')),
      code('NOT_FOUND'),
    );
    await assert.rejects(
      store.authorities.complete(
        { id: root.id, version: 1 },
        { ...made, certificateDer: Buffer.from('junk') },
        event('authority.prepared'),
      ),
      code('CERTIFICATE_MALFORMED'),
    );
    assert.equal(
      (await store.authorities.byId(root.id))?.state,
      'preparing',
      'a failure leaves nothing',
    );
    const done = await store.authorities.complete(
      { id: root.id, version: 1 },
      made,
      event('authority.prepared', root.id),
    );
    assert.deepEqual(done, { ...root, ...made, state: 'prepared', version: 2 });
    const record = await store.certificates.bySerial(rootSerial);
    assert.deepEqual(
      [
        record?.kind,
        record?.state,
        record?.spiffeId,
        record?.authorityId,
        record?.holder,
        record?.notAfter,
        record?.sha256,
      ],
      [
        'authority',
        'issued',
        'spiffe://example.org',
        root.id,
        'server',
        parsed.value.notAfter,
        createHash('sha256').update(rootDer).digest('hex'),
      ],
    );
    assert.equal((await store.certificates.countByState()).issued, 1);
    await assert.rejects(
      store.authorities.complete({ id: root.id, version: 2 }, made, event('authority.prepared')),
      code('CONFLICT'),
    );
  });

  test(`${name}: transitions compare and set, move the revision, and only legal ones pass`, async () => {
    await using opened = await open();
    const { store } = opened;
    const active = await activeAuthority(store);
    assert.equal(active.activatedAt, start);
    const { revision } = await store.meta.position();
    await assert.rejects(
      store.authorities.transition(
        { id: active.id, version: active.version - 1, now: start },
        'old',
        event('authority.old'),
      ),
      code('CONFLICT'),
    );
    await assert.rejects(
      store.authorities.transition(
        { id: 'none', version: 1, now: start },
        'old',
        event('authority.old'),
      ),
      code('NOT_FOUND'),
    );
    for (const to of authorityStates.filter(
      (state) => !legalTransitions('active').includes(state),
    )) {
      await assert.rejects(
        store.authorities.transition(
          { id: active.id, version: active.version, now: start },
          to,
          event('authority.x'),
        ),
        code('CONFLICT'),
      );
    }
    assert.equal((await store.meta.position()).revision, revision);
    const tainted = await store.authorities.transition(
      { id: active.id, version: active.version, now: start + 7 },
      'tainted',
      event('authority.tainted', active.id),
    );
    assert.deepEqual(
      [tainted.state, tainted.version, tainted.taintedAt, tainted.activatedAt],
      ['tainted', active.version + 1, start + 7, start],
    );
    assert.equal((await store.meta.position()).revision, revision + 1);
    assert.equal(
      (await store.audit.list({ kind: 'authority.tainted' }, { size: 5 })).items.length,
      1,
    );
    assert.equal((await store.audit.list({ kind: 'authority.x' }, { size: 5 })).items.length, 0);
  });

  test(`${name}: prepared can not be reached without a key`, async () => {
    await using opened = await open();
    const { store } = opened;
    const one = authority();
    await store.authorities.create(one, event('authority.created'));
    await assert.rejects(
      store.authorities.transition(
        { id: one.id, version: 1, now: start },
        'prepared',
        event('authority.prepared'),
      ),
      code('CONFLICT'),
    );
    assert.equal(
      (
        await store.authorities.transition(
          { id: one.id, version: 1, now: start },
          'discarded',
          event('authority.discarded'),
        )
      ).state,
      'discarded',
    );
  });

  test(`${name}: of two transitions at once from the same version one wins`, async () => {
    await using opened = await open();
    const { store } = opened;
    const active = await activeAuthority(store);
    const results = await Promise.allSettled(
      (['old', 'tainted', 'old'] as const).map((to) =>
        store.authorities.transition(
          { id: active.id, version: active.version, now: start },
          to,
          event(`authority.${to}`),
        ),
      ),
    );
    assert.deepEqual(results.map(({ status }) => status).sort(), [
      'fulfilled',
      'rejected',
      'rejected',
    ]);
  });

  test(`${name}: authorities are listed oldest first, by kind and states; a parent must exist`, async () => {
    await using opened = await open();
    const { store } = opened;
    const root = authority({ kind: 'root', createdAt: start + 1 });
    const issuing = authority({ parentId: root.id, createdAt: start + 2 });
    const jwt = authority({ kind: 'jwt', createdAt: start });
    for (const one of [root, issuing, jwt])
      await store.authorities.create(one, event('authority.created'));
    await store.authorities.complete(
      { id: jwt.id, version: 1 },
      jwtMade,
      event('authority.prepared'),
    );
    assert.deepEqual(
      (await store.authorities.list()).map(({ id }) => id),
      [jwt.id, root.id, issuing.id],
    );
    assert.deepEqual(
      (await store.authorities.list({ kind: 'issuing' })).map(({ id }) => id),
      [issuing.id],
    );
    assert.deepEqual(
      (await store.authorities.list({ states: ['prepared', 'active'] })).map(({ id }) => id),
      [jwt.id],
    );
    assert.deepEqual(await store.authorities.list({ states: [] }), []);
    await assert.rejects(
      store.authorities.create(authority({ parentId: 'nobody' }), event('authority.created')),
      code('NOT_FOUND'),
    );
  });

  test(`${name}: bundle revisions follow one another, also over a stated gap, and move the revision`, async () => {
    await using opened = await open();
    const { store } = opened;
    assert.equal(await store.bundles.latest(), undefined);
    await assert.rejects(
      store.bundles.append(bundle(2), event('bundle.published')),
      code('CONFLICT'),
    );
    for (const sequence of [1, 2, 3])
      await store.bundles.append(bundle(sequence), event('bundle.published'));
    await assert.rejects(
      store.bundles.append(bundle(3), event('bundle.published')),
      code('CONFLICT'),
    );
    assert.deepEqual(await store.bundles.latest(), bundle(3));
    assert.deepEqual(await store.bundles.since(1), [bundle(2), bundle(3)]);
    assert.deepEqual(await store.bundles.since(3), []);
    for (const [sequence, after] of [
      [9, 2],
      [9, 8],
      [3, 3],
      [2, 3],
    ] as const)
      await assert.rejects(
        store.bundles.append(bundle(sequence), event('bundle.published'), after),
        code('CONFLICT'),
      );
    await store.bundles.append(bundle(9), event('bundle.published'), 3);
    assert.deepEqual(await store.bundles.since(1), [bundle(2), bundle(3), bundle(9)]);
    assert.equal((await store.meta.position()).revision, 4);
  });

  test(`${name}: listeners learn each new position after its commit, until they leave`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { epoch } = await store.meta.claim('example.org', start);
    const heard: Position[] = [];
    store.onRevision(() => {
      throw new Error('a bad listener');
    });
    const leave = store.onRevision((position) => heard.push(position));
    await store.bundles.append(bundle(1), event('bundle.published'));
    assert.deepEqual(heard, [{ epoch, revision: 1 }]);
    await assert.rejects(
      store.bundles.append(bundle(9), event('bundle.published')),
      code('CONFLICT'),
    );
    await store.roles.list({ size: 1 });
    await Promise.all([
      store.bundles.append(bundle(2), event('bundle.published')),
      store.bundles.append(bundle(3), event('bundle.published')),
    ]);
    assert.equal(heard.at(-1)?.revision, 3);
    assert.ok(heard.length <= 3);
    leave();
    await store.bundles.append(bundle(4), event('bundle.published'));
    assert.equal(heard.at(-1)?.revision, 3);
  });
}
