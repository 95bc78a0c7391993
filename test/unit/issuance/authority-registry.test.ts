import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import { certificateKinds, type Authority } from '../../../src/domain/index.ts';
import { AuthorityRegistry } from '../../../src/issuance/index.ts';
import { FakeClock } from '../../support/agent.ts';
import { authority, day, newKey } from './authorities-support.ts';

const registryOf = (
  clock: FakeClock,
  authorities: readonly Authority[],
  requestedKeys = new Set<string>(),
  { altered = new Set(), names = true }: { altered?: ReadonlySet<unknown>; names?: boolean } = {},
): AuthorityRegistry =>
  new AuthorityRegistry({
    authorities: { list: () => Promise.resolve(authorities) },
    bundles: { latest: () => Promise.resolve(undefined) },
    objects: {
      require: (_kind, value) => value as never,
      prove: (_kind, value) => (altered.has(value) ? undefined : (value as never)),
      announceAbsent: () => {},
    },
    signers: { useKey: () => Promise.resolve(), forgetKey: () => Promise.resolve() },
    place: { region: 'eu' },
    names,
    clock,
    logger: silentLogger,
    requestedKeys,
  });

test('a scoped issuer signs for its scope until it ends; then one without a scope that lives does', async () => {
  const clock = new FakeClock();
  const rootKey = newKey();
  const root = authority(clock, 'root', rootKey);
  const below = { certificate: root.certificate, key: rootKey, id: root.record.id };
  const issuer = (over: Partial<Authority>): Authority => ({
    ...authority(clock, 'issuing', newKey(), below).record,
    ...over,
  });
  const general = issuer({ notAfter: clock.now() + 3 * day });
  const scoped = issuer({ scope: { region: 'eu' }, notAfter: clock.now() + day });
  const elsewhere = issuer({ scope: { region: 'us' }, notAfter: clock.now() + 9 * day });
  const registry = registryOf(clock, [root.record, general, scoped, elsewhere]);
  await registry.refresh();
  const signing = (): (string | undefined)[] => [
    registry.issuing()?.id,
    registry.issuerFor({ kind: 'workload', holder: 'n1' })?.authority.id,
  ];
  assert.deepEqual(signing(), [scoped.id, scoped.id]);
  clock.advance(day * 1000);
  assert.deepEqual(signing(), [general.id, general.id]);
  clock.advance(3 * day * 1000);
  assert.deepEqual(signing(), [scoped.id, scoped.id], 'all have ended: the error names this one');
  for (const [only, id] of [
    [elsewhere, undefined],
    [scoped, scoped.id],
  ] as const) {
    const lone = registryOf(clock, [root.record, only]);
    await lone.refresh();
    assert.equal(lone.issuerFor({ kind: 'workload', holder: 'n1' })?.authority.id, id);
  }
});

test('a key for which a CSR went out is the key of an authority from then on, without a refresh', () => {
  const requestedKeys = new Set<string>();
  const registry = registryOf(new FakeClock(), [], requestedKeys);
  assert.equal(registry.isAuthorityKey('ab'.repeat(32)), false);
  requestedKeys.add('ab'.repeat(32));
  assert.equal(registry.isAuthorityKey('ab'.repeat(32)), true);
});

test('an authority whose row was altered or taken away stays as it was, and its root stays trusted', async () => {
  const clock = new FakeClock();
  const record = (): Authority => authority(clock, 'root', newKey()).record;
  const [old, present, newest] = [record(), record(), record()];
  const rows = [old, present, newest];
  const altered = new Set<unknown>();
  const registry = registryOf(clock, rows, undefined, { altered });
  await registry.refresh();
  const next: Authority = { ...newest, id: 'next', version: 2 };
  const revoked: Authority = { ...present, state: 'revoked', version: 9 };
  altered.add(revoked);
  rows.splice(0, 3, next, revoked, newest);
  await registry.refresh();
  assert.deepEqual(
    registry.all().map(({ id, state }) => [id, state]),
    [old, present, newest, next].map(({ id, state }) => [id, state]),
  );
  assert.equal(registry.rootsDer().length, 4);
});

test('an authority of names signs for endpoints alone, and nothing of it is told to the mesh', async () => {
  const clock = new FakeClock();
  const hierarchy = (root: 'root' | 'names-root', issuing: 'issuing' | 'names-issuing') => {
    const key = newKey();
    const above = authority(clock, root, key);
    const issuer = { certificate: above.certificate, key, id: above.record.id };
    return { key, root: above.record, issuing: authority(clock, issuing, newKey(), issuer).record };
  };
  const mesh = hierarchy('root', 'issuing');
  const names = hierarchy('names-root', 'names-issuing');
  const tainted: Authority = { ...hierarchy('names-root', 'names-issuing').root, state: 'tainted' };
  const all = [mesh.root, mesh.issuing, names.root, names.issuing, tainted];
  const registry = registryOf(clock, all);
  await registry.refresh();
  for (const kind of certificateKinds)
    assert.equal(
      registry.issuerFor({ kind, holder: 'h' })?.authority.id,
      kind === 'endpoint' ? names.issuing.id : mesh.issuing.id,
      kind,
    );
  assert.equal(registry.issuing()?.id, mesh.issuing.id);
  assert.deepEqual(registry.rootsDer(), [mesh.root.certificateDer]);
  assert.deepEqual(registry.namesRootsDer(), [names.root.certificateDer, tainted.certificateDer]);
  assert.deepEqual(
    registry.published().map(({ authorityId }) => authorityId),
    [mesh.issuing.id],
  );
  assert.deepEqual(registry.tainted(), []);
  assert.equal(registry.rootOf(names.issuing.id)?.id, names.root.id);
});

test('without an authority of names, or while names are off, there is no issuer for an endpoint', async () => {
  const clock = new FakeClock();
  const key = newKey();
  for (const [kind, below, names] of [
    ['root', 'issuing', true],
    ['names-root', 'names-issuing', false],
  ] as const) {
    const root = authority(clock, kind, key);
    const issuer = { certificate: root.certificate, key, id: root.record.id };
    const issuing = authority(clock, below, newKey(), issuer).record;
    const registry = registryOf(clock, [root.record, issuing], undefined, { names });
    await registry.refresh();
    assert.equal(registry.issuerFor({ kind: 'endpoint', holder: 'h' }), undefined);
  }
});

test('the cross-certificate of a root of names ends its chains until the earlier root is tainted', async () => {
  const clock = new FakeClock();
  const key = newKey();
  const early = authority(clock, 'names-root', newKey()).record;
  const root = authority(clock, 'names-root', key);
  const issuer = { certificate: root.certificate, key, id: root.record.id };
  const issuing = authority(clock, 'names-issuing', newKey(), issuer).record;
  const cross: Authority = {
    ...root.record,
    id: 'cross',
    kind: 'names-issuing',
    token: 'external',
    state: 'published',
    parentId: early.id,
    certificateDer: Buffer.from('cross'),
  };
  const rows = [{ ...early, state: 'old' } as Authority, root.record, issuing, cross];
  const registry = registryOf(clock, rows);
  await registry.refresh();
  assert.deepEqual(registry.chainDer(issuing.id), [issuing.certificateDer, cross.certificateDer]);
  rows[0] = { ...early, state: 'tainted', version: 9 };
  await registry.refresh();
  assert.deepEqual(registry.chainDer(issuing.id), [issuing.certificateDer]);
});
