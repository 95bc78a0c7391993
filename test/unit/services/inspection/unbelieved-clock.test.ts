import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger, systemClock, uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import type { CertificateRecord, Revocation } from '../../../../src/domain/index.ts';
import { Pruner } from '../../../../src/services/index.ts';
import {
  DownstreamService,
  type DownstreamDependencies,
} from '../../../../src/services/issuing/downstream-service.ts';
import { FakeClock } from '../../../support/agent.ts';
import { createServicesWorld, id, local, newKey } from '../../../support/services-world.ts';
import { until } from '../../../support/until.ts';

const day = 86_400;

test('by a clock that is not believed no certificate has expired, so that it can be revoked', async () => {
  await using w = await createServicesWorld({ revocable: true });
  const { caller } = await w.joinAgent('n1');
  const entryId = await w.addEntry({
    spiffeId: id('/batch'),
    parentId: caller.spiffeId,
    profile: 'revocable',
  });
  const sign = async (): Promise<string> => {
    const outcomes = await w.services.svids.signX509(caller, [
      {
        requestId: uuidv7(),
        entryId,
        csrDer: createCsr(newKey()),
        ttlSeconds: 0,
        selectors: [],
        replacesSerial: '',
      },
    ]);
    const [outcome] = outcomes;
    assert.ok(outcome?.ok);
    return outcome.leaf.serial;
  };
  const serial = await sign();
  w.clock.jumpWall(30 * day * 1000);
  const revoke = () => w.services.revocations.revoke(local, { serial, reason: 'keyCompromise' });
  await assert.rejects(revoke(), { code: 'CERTIFICATE_EXPIRED' });
  w.doubtClock();
  const { revocation } = await revoke();
  assert.equal(revocation.reason, 'keyCompromise');
  assert.ok(w.store.revocations.revoked(serial));
});

/** The watch over one CA certificate below an entry that ends in a day. */
// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
function watched(clock: FakeClock, state: { believed: boolean; banned: boolean }) {
  const revoked: Omit<Revocation, 'authorityId'>[] = [];
  const asked: number[] = [];
  const workload = id('/nested');
  const holder = id('/meshca/agent/n1');
  const serial = '0a';
  const notAfter = clock.now() + 7 * day;
  const proven = { require: (_: string, value: unknown) => value };
  const service = new DownstreamService({
    certificates: {
      list: ({ expiresAfter = 0 }: { readonly expiresAfter?: number }) => {
        asked.push(expiresAfter);
        const record = { serial, spiffeId: id(''), entryId: 'e', createdAtMs: 0 };
        const items = expiresAfter < notAfter ? [record as CertificateRecord] : [];
        return Promise.resolve({ items, next: undefined });
      },
      bySerial: () => Promise.resolve(undefined),
    },
    entries: {
      byId: () =>
        Promise.resolve({
          id: 'e',
          downstream: true,
          spiffeId: workload,
          parentId: holder,
          expiresAt: 1_800_000_000 + day,
        }),
    },
    agents: {
      byId: () => Promise.resolve({ spiffeId: holder, state: state.banned ? 'banned' : 'active' }),
    },
    objects: proven,
    nodeSets: { parents: () => Promise.resolve([holder]) },
    inventory: {
      downstream: () =>
        Promise.resolve({ workload, entryId: 'e', agentId: holder, authorityId: 'r', notAfter }),
    },
    revocations: {
      revoked: (of: string) => revoked.some((each) => each.serial === of),
      revokeAgain: (revocation: Revocation) => {
        revoked.push(revocation);
        return Promise.resolve(revocation);
      },
    },
    held: () => false,
    clockBelieved: () => state.believed,
    onRevision: () => () => {},
    clock,
    logger: silentLogger,
    settings: {
      trustDomain: { id: id('') },
      downstreamRate: { burst: 1, perSecond: 1 },
      downstreamTotalRate: { burst: 1, perSecond: 1 },
    },
  } as unknown as DownstreamDependencies);
  /** One more look of the watch. */
  const look = async (): Promise<void> => {
    const before = asked.length;
    await until(() => {
      clock.advance(1_000);
      return asked.length > before;
    });
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { service, revoked, look };
}

test('by a clock that is not believed no CA downstream is revoked because its entry has expired', async () => {
  const clock = new FakeClock();
  const state = { believed: false, banned: false };
  const { service, revoked, look } = watched(clock, state);
  clock.jumpWall(30 * day * 1000);
  await look();
  await look();
  assert.deepEqual(revoked, []);
  state.banned = true;
  await look();
  await look();
  assert.deepEqual(
    revoked.map(({ serial }) => serial),
    ['0a'],
    'a ban counts at any time, also where the certificate seems to have expired',
  );
  await service.close();
});

test('the entry of a CA downstream that has expired by a clock that is right revokes it', async () => {
  const clock = new FakeClock();
  const { service, revoked, look } = watched(clock, { believed: true, banned: false });
  await look();
  assert.deepEqual(revoked, []);
  clock.jumpWall(2 * day * 1000);
  await look();
  await look();
  assert.equal(revoked.length, 1);
  await service.close();
});

test('a clock that jumps while the database is pruned ends the round before its next batch', async () => {
  let believed = true;
  const batches: string[] = [];
  const lease = { name: 'pruning', holder: 'test', fence: 1, expiresAtMs: 0 };
  const pruner = new Pruner({
    store: {
      retention: {
        pruneCertificates: (_, limit) => {
          batches.push('certificates');
          believed = false;
          return Promise.resolve(limit);
        },
        pruneJwtSvids: () => Promise.reject(new PkiError('INTERNAL', 'no batch is expected')),
        pruneCheckpoints: () => Promise.reject(new PkiError('INTERNAL', 'no batch is expected')),
      },
      leases: {
        acquire: () => Promise.resolve(lease),
        renew: () => Promise.resolve(lease),
        release: () => Promise.resolve(),
      },
      audit: { append: () => Promise.resolve() },
      tokenUses: { prune: () => Promise.reject(new PkiError('INTERNAL', 'no batch is expected')) },
      acme: {
        orders: { prune: () => Promise.reject(new PkiError('INTERNAL', 'no batch is expected')) },
        pruneExchanged: () => Promise.resolve({ removed: 0, next: undefined }),
        pruneNonces: () => Promise.reject(new PkiError('INTERNAL', 'no batch is expected')),
      },
    },
    keepSeconds: 90 * day,
    keepOrdersSeconds: 90 * day,
    holder: 'test',
    clockBelieved: () => believed,
    clock: { ...systemClock, sleep: async () => {} },
    logger: silentLogger,
  } as ConstructorParameters<typeof Pruner>[0]);
  const { certificates } = await pruner.round();
  assert.deepEqual([batches, certificates > 0], [['certificates'], true]);
  assert.equal((await pruner.round()).certificates, 0);
  assert.equal(batches.length, 1);
});
