import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../../src/common/errors/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import { account, acmeWorld, eabKey, next, nonce, order, write } from './acme-fixtures.ts';
import {
  activeAuthority,
  code,
  event,
  everyPage,
  intent,
  mayFinish,
  signed,
  start,
  type ManualClock,
  type OpenStore,
} from './fixtures.ts';

type World = Awaited<ReturnType<typeof acmeWorld>> & {
  readonly store: Ledger;
  readonly clock: ManualClock;
};

/** What may happen while a certificate is issued, and the code with which it is then withheld. */
const endings: readonly (readonly [
  what: string,
  code: ErrorCode | undefined,
  act: (world: World) => Promise<unknown>,
])[] = [
  ['nothing happened', undefined, async () => {}],
  [
    'the tenant ended',
    'TENANT_ENDED',
    ({ store, tenant }) =>
      store.tenants.update({ ...tenant, state: 'ended', version: 2 }, event('tenant.ended')),
  ],
  [
    'the EAB key was revoked',
    'EAB_KEY_ENDED',
    ({ store, key }) =>
      store.acme.eabKeys.update({ ...key, revokedAt: start, version: 2 }, write('eab-key.revoked')),
  ],
  ['the EAB key expired', 'EAB_KEY_ENDED', async ({ clock }) => clock.advance(1000)],
  ['the authorizations expired', undefined, async ({ clock }) => clock.advance(999)],
  [
    'the account was deactivated',
    'ACME_ACCOUNT_ENDED',
    ({ store, account: of }) =>
      store.acme.accounts.update(
        { ...of, status: 'deactivated', version: 2 },
        write('acme.account.ended'),
      ),
  ],
  [
    'the order was changed',
    'ACME_ORDER_ENDED',
    ({ store, order: of }) => store.acme.orders.update(next(of, {}), write('acme.order.changed')),
  ],
];

const shop = { tenant: 'shop' };

/** The keys, accounts and nonces of ACME, and the rights that issuing rests on. */
export function acmeCases(name: string, open: OpenStore): void {
  test(`${name}: an EAB key is created, changed by its version, and listed until it ends`, async () => {
    await using opened = await open();
    const { eabKeys } = opened.store.acme;
    const [lasting, expiring, foreign] = [
      eabKey(),
      eabKey({ expiresAt: start + 10 }),
      eabKey({ tenant: 'bank' }),
    ] as const;
    for (const key of [lasting, expiring, foreign])
      await eabKeys.create(key, write('eab-key.created'));
    assert.deepEqual(await eabKeys.byId(lasting.id), lasting);
    assert.equal(await eabKeys.byId('unknown'), undefined);
    const list = async (now: number, includeEnded = false, filter: { tenant?: string } = shop) =>
      (await everyPage((page) => eabKeys.list({ ...filter, includeEnded, now }, page), 2)).map(
        ({ id }) => id,
      );
    assert.deepEqual(await list(start + 9), [lasting.id, expiring.id]);
    assert.deepEqual(await list(start + 10), [lasting.id]);
    const revoked = { ...lasting, revokedAt: start + 10, version: 2 };
    await assert.rejects(
      eabKeys.update({ ...revoked, version: 3 }, write('eab-key.revoked')),
      code('CONFLICT'),
    );
    await eabKeys.update(revoked, write('eab-key.revoked'));
    assert.deepEqual(await eabKeys.byId(lasting.id), revoked);
    assert.deepEqual(await list(start + 9), [expiring.id]);
    assert.deepEqual(await list(start + 10, true), [lasting.id, expiring.id]);
    assert.deepEqual(await list(start + 10, false, {}), [foreign.id]);
    await assert.rejects(eabKeys.update(eabKey(), write('eab-key.revoked')), code('NOT_FOUND'));
  });

  test(`${name}: an account is found by ID and by key, and no two accounts have one key`, async () => {
    await using opened = await open();
    const { accounts, eabKeys } = opened.store.acme;
    const key = eabKey();
    await eabKeys.create(key, write('eab-key.created'));
    const [one, other] = [account({ eabKeyId: key.id }), account({ eabKeyId: key.id })];
    await accounts.create(one, write('acme.account.created'));
    await accounts.create(other, write('acme.account.created'));
    assert.deepEqual(await accounts.byId(one.id), one);
    assert.deepEqual(await accounts.byThumbprint(other.thumbprint), other);
    assert.equal(await accounts.byThumbprint('unknown'), undefined);
    const { thumbprint } = one;
    const same = code('ALREADY_EXISTS');
    const third = account({ eabKeyId: key.id, thumbprint });
    await assert.rejects(accounts.create(third, write('acme.account.created')), same);
    const taking = { ...other, thumbprint, version: 2 };
    await assert.rejects(accounts.update(taking, write('acme.account.changed')), same);
    const ended = { ...other, status: 'deactivated', version: 2 } as const;
    await accounts.update(ended, write('acme.account.ended'));
    await assert.rejects(accounts.update(ended, write('acme.account.ended')), code('CONFLICT'));
    const list = async (filter: Parameters<typeof accounts.list>[0]) =>
      (await everyPage((page) => accounts.list(filter, page), 2)).map(({ id }) => id);
    assert.deepEqual(await list({ tenant: 'shop' }), [one.id, other.id]);
    assert.deepEqual(await list({ eabKeyId: key.id, status: 'valid' }), [one.id]);
    assert.deepEqual(await list({ tenant: 'bank' }), []);
  });

  test(`${name}: a single EAB key is bound to the first account, on record, and to no other`, async () => {
    await using opened = await open();
    const { acme, audit } = opened.store;
    const key = eabKey({ accounts: 'single' });
    await acme.eabKeys.create(key, write('eab-key.created'));
    const [first, second] = [account({ eabKeyId: key.id }), account({ eabKeyId: key.id })];
    const outcomes = await Promise.allSettled(
      [first, second].map((each) => acme.accounts.create(each, write('acme.account.created'))),
    );
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    await assert.rejects(
      acme.accounts.create(second, write('acme.account.created')),
      code('EAB_KEY_ENDED'),
    );
    assert.equal(await acme.accounts.byId(second.id), undefined);
    assert.deepEqual(await acme.eabKeys.byId(key.id), { ...key, accountId: first.id, version: 2 });
    const { items } = await audit.list({ kind: 'eab-key.bound' }, { size: 5 });
    assert.deepEqual(
      items.map(({ subject }) => subject),
      [key.id],
    );
    const none = account({ eabKeyId: 'unknown' });
    await assert.rejects(
      acme.accounts.create(none, write('acme.account.created')),
      code('EAB_KEY_ENDED'),
    );
  });

  test(`${name}: a nonce is good for one effect, and a refused write does not use it up`, async () => {
    await using opened = await open();
    const { acme } = opened.store;
    const { rights } = await acmeWorld(opened.store);
    const [used, kept] = [nonce(), nonce()];
    const create = (mark: typeof used, more = order()) =>
      acme.orders.create(more, write('acme.order.created', [rights.account], { nonce: mark }));
    const outcomes = await Promise.allSettled([create(used), create(used)]);
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    await assert.rejects(create(used), code('ACME_NONCE_USED'));
    const stranger = { kind: 'acme-account', id: 'unknown' } as const;
    await assert.rejects(
      acme.orders.create(order(), write('acme.order.created', [stranger], { nonce: kept })),
      code('ACME_ACCOUNT_ENDED'),
    );
    await create(kept);
    await assert.rejects(acme.useNonce(kept), code('ACME_NONCE_USED'));
    const again = await opened.reopen();
    await assert.rejects(again.store.acme.useNonce(used), code('ACME_NONCE_USED'));
  });

  test(`${name}: marks of nonces are forgotten once they have expired, under the lease alone`, async () => {
    await using opened = await open();
    const { acme, leases } = opened.store;
    const lease = await leases.acquire('pruning', 'me', start * 1000, 86_400_000);
    assert.ok(lease !== undefined);
    const marks = [10, 20, 30, 40].map((seconds) => nonce({ expiresAt: start + seconds }));
    for (const mark of marks) await acme.useNonce(mark);
    assert.equal(await acme.pruneNonces(start + 30, 2, lease), 2);
    assert.equal(await acme.pruneNonces(start + 30, 2, lease), 1);
    const [first, , , last] = marks as [(typeof marks)[0], unknown, unknown, (typeof marks)[0]];
    await acme.useNonce(first);
    await assert.rejects(acme.useNonce(last), code('ACME_NONCE_USED'));
    await leases.release(lease);
    assert.ok(await leases.acquire('pruning', 'other', start * 1000, 86_400_000));
    await assert.rejects(acme.pruneNonces(start + 30, 2, lease), code('LEASE_LOST'));
  });

  test(`${name}: each right of an ACME certificate is checked again at the end`, async (t) => {
    for (const [what, expected, act] of endings)
      await t.test(what, async () => {
        await using opened = await open();
        const { store, clock } = opened;
        const { id: authorityId } = await activeAuthority(store);
        const world = await acmeWorld(store);
        const one = intent({ authorityId, kind: 'endpoint' });
        await store.issuance.recordIntents([one]);
        await act({ ...world, store, clock });
        const rights = [mayFinish(authorityId), ...Object.values(world.rights)];
        const [outcome] = await store.issuance.finish([signed(one, rights)]);
        assert.deepEqual(
          outcome?.state === 'withheld' ? outcome.code : outcome?.state,
          expected ?? 'issued',
        );
        // a write of ACME is judged by the same rules
        const written = store.acme.orders.create(
          order(),
          write('acme.order.created', Object.values(world.rights)),
        );
        if (expected === undefined) await written;
        else await assert.rejects(written, code(expected));
      });
  });
}
