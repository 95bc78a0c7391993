import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import type { Authority } from '../../../src/domain/index.ts';
import { AuthorityRegistry } from '../../../src/issuance/index.ts';
import { FakeClock } from '../../support/agent.ts';
import { authority, day, newKey } from './authorities-support.ts';

const registryOf = (
  clock: FakeClock,
  authorities: readonly Authority[],
  requestedKeys = new Set<string>(),
  altered: ReadonlySet<unknown> = new Set(),
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
    registry.issuerFor({ holder: 'n1' })?.authority.id,
  ];
  assert.deepEqual(signing(), [scoped.id, scoped.id]);
  clock.advance(day * 1000);
  assert.deepEqual(signing(), [general.id, general.id]);
  clock.advance(3 * day * 1000);
  assert.deepEqual(signing(), [scoped.id, scoped.id], 'all have ended: the error names this one');
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
  const registry = registryOf(clock, rows, undefined, altered);
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
