import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Living } from '../../../src/ledger/living.ts';

const said = (kind: 'authority' | 'rotation' | 'agent', id: string, act: string) => ({
  ...{ kind, id, act, sha256: 'aa', subject: id, detail: { authorityKind: 'jwt' } },
});

test('an authority lives until it has ended, and a rotation until it is done or given up', () => {
  const living = new Living();
  const names = () => living.all().map(({ object, id, kind }) => `${object} ${id} ${kind}`);
  living.apply(said('authority', 'a', 'authority.prepare'));
  living.apply(said('rotation', 'o', 'rotation.opened'));
  living.apply(said('rotation', 'p', 'rotation.opened'));
  living.apply(said('agent', 'n', 'agent.joined'));
  living.apply(said('authority', 'a', 'authority.old'));
  assert.deepEqual(names(), ['authority a jwt', 'rotation o jwt', 'rotation p jwt']);
  living.apply(said('rotation', 'o', 'rotation.done'));
  living.apply(said('rotation', 'p', 'rotation.cancelled'));
  assert.deepEqual(names(), ['authority a jwt']);
  const copy = new Living();
  copy.restore(living.copy());
  assert.deepEqual(copy.copy(), living.copy());
  for (const state of ['retired', 'revoked', 'discarded', 'withdrawn']) {
    living.apply(said('authority', 'b', 'authority.active'));
    living.apply(said('authority', 'b', `authority.${state}`));
  }
  assert.deepEqual(names(), ['authority a jwt']);
});
