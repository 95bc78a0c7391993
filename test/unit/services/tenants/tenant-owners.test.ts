import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { NameOwners, type Tenant } from '../../../../src/domain/index.ts';
import { TenantOwners } from '../../../../src/services/index.ts';
import { until } from '../../../support/until.ts';

const tenant = (name: string): Tenant => ({
  name,
  description: '',
  dnsSuffixes: [`${name}.test`],
  spiffePrefixes: [],
  quotaCertificates: 0,
  quotaSeconds: 0,
  state: 'active',
  version: 1,
  createdAt: 1,
  updatedAt: 1,
  createdBy: 'uid:0',
});

/** Owners over rows that a test changes; `moved` is a revision. */
function owned() {
  const state = { newest: 1, tenants: [tenant('a')], failure: undefined as PkiError | undefined };
  let moved = (): void => {};
  const owners = new TenantOwners({
    tenants: {
      newest: () => state.newest,
      owners: () =>
        state.failure === undefined
          ? Promise.resolve(new NameOwners(state.tenants))
          : Promise.reject(state.failure),
    },
    onRevision: (listener) => {
      moved = listener;
      return () => {};
    },
    logger: silentLogger,
  });
  return { owners, state, moved: () => moved() };
}
const codeOf = (owners: TenantOwners): string => {
  try {
    return owners.present().ofDnsName('x.b.test')?.name ?? 'nobody';
  } catch (thrown) {
    return PkiError.from(thrown).code;
  }
};

test('the owners are read again after each record of a tenant, and unknown before the first read', async () => {
  const { owners, state, moved } = owned();
  assert.equal(codeOf(owners), 'STARTING_UP');
  assert.equal(owners.known().size, 0);
  await owners.refresh();
  assert.equal(codeOf(owners), 'nobody');
  state.tenants = [tenant('a'), tenant('b')];
  moved();
  assert.equal(codeOf(owners), 'nobody', 'there is no newer record');
  state.newest = 2;
  moved();
  await until(() => codeOf(owners) === 'b');
  state.newest = 3;
  state.tenants = [tenant('a')];
  await until(() => codeOf(owners) === 'nobody');
});

test('while a tenant differs from the log no owner is known, and the next request reads again', async () => {
  const { owners, state } = owned();
  await owners.refresh();
  state.newest = 2;
  state.failure = new PkiError('OBJECT_NOT_IN_LOG', 'a tenant was altered');
  await assert.rejects(owners.refresh());
  assert.equal(codeOf(owners), 'OBJECT_NOT_IN_LOG');
  assert.equal(owners.known().size, 0);
  state.failure = undefined;
  state.tenants = [tenant('b')];
  await until(() => codeOf(owners) === 'b');
});

test('a read that fails for another reason leaves what was known', async () => {
  const { owners, state } = owned();
  await owners.refresh();
  state.newest = 2;
  state.failure = new PkiError('STORE_FAILED', 'the disk is full');
  await assert.rejects(owners.refresh());
  assert.equal(codeOf(owners), 'nobody');
});
