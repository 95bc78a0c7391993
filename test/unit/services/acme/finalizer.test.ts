import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fail, ok, PkiError, type ErrorCode } from '../../../../src/common/errors/index.ts';
import { silentLogger, uuidv7 } from '../../../../src/common/runtime/index.ts';
import type { AcmeAccount, AcmeOrder, BlockedKey, EabKey } from '../../../../src/domain/index.ts';
import type { IssuedLeaf, LeafRequest, LeafResult } from '../../../../src/issuance/issuer.ts';
import { AccountKeys } from '../../../../src/services/acme/account-keys.ts';
import { Finalizer } from '../../../../src/services/acme/finalizer.ts';
import { OrderBook } from '../../../../src/services/acme/order-book.ts';
import type { AcmeWrite, OrderLease, PageRequest } from '../../../../src/store/ports/index.ts';
import { acmeKey } from '../../../support/acme/wire.ts';
import { FakeClock, settle } from '../../../support/agent.ts';

const serial = '41'.padEnd(32, '0');
const issued: LeafResult = { ok: true, leaf: { serial } as IssuedLeaf };
const refused = (code: ErrorCode): LeafResult => ({
  ok: false,
  error: new PkiError(code, 'no'),
  refusalId: '',
});

const finalizing = (clock: FakeClock): AcmeOrder => ({
  ...{ id: uuidv7(clock.nowMs()), accountId: 'a1', eabKeyId: 'k1', tenant: 'shop' },
  authorizations: [
    {
      ...{ identifier: { type: 'dns', value: 'shop.test' }, wildcard: true, token: '' },
      ...{ status: 'valid', shownBy: 'owner', expiresAt: clock.now() + 60, challenges: [] },
    },
  ],
  ...{ profile: 'short', replaces: null, stage: 'finalizing', csrDer: Buffer.of(1) },
  ...{ serial: null, problem: null, expiresAt: clock.now() + 3_600 },
  ...{ createdAt: clock.now(), version: 3 },
});

const { jwk } = acmeKey();
const account = { algorithm: 'ES256', jwk, thumbprint: 't' } as unknown as AcmeAccount;
const notInLog = (kind: string): PkiError =>
  new PkiError('OBJECT_NOT_IN_LOG', `the ${kind} differs`);

interface Rows {
  readonly rows: Map<string, AcmeOrder>;
  readonly writes: AcmeWrite[];
  /** What of an order differs from the log. */
  readonly altered: ReadonlySet<string>;
  readonly leases: Map<string, OrderLease>;
}

/** Orders in memory, with the compare-and-set and the leases of the store. */
function storeOf({ rows, writes, altered, leases }: Rows) {
  return {
    byId: (id: string) =>
      altered.has('order') ? Promise.reject(notInLog('order')) : Promise.resolve(rows.get(id)),
    acquire: (id: string, lease: OrderLease) => {
      const other = leases.get(id);
      const isFree = other === undefined || other.expiresAtMs <= lease.nowMs;
      if (isFree) leases.set(id, lease);
      return Promise.resolve(isFree || other.holder === lease.holder);
    },
    release: (id: string) => {
      leases.delete(id);
      return Promise.resolve();
    },
    finalizing: ({ after = '', size }: PageRequest) => {
      const behind = [...rows.values()]
        .filter(({ stage, id }) => stage === 'finalizing' && id > after)
        .sort((one, other) => (one.id < other.id ? -1 : 1));
      const page = behind.slice(0, size);
      return Promise.resolve({
        items: altered.has('order') ? [] : page,
        next: behind.length > size ? page.at(-1)?.id : undefined,
      });
    },
    update: (order: AcmeOrder, write: AcmeWrite) => {
      if (rows.get(order.id)?.version !== order.version - 1)
        return Promise.reject(new PkiError('CONFLICT', 'another version'));
      if (altered.has('order')) return Promise.reject(notInLog('order'));
      rows.set(order.id, order);
      writes.push(write);
      return Promise.resolve();
    },
  };
}

/** What comes of a look at CAA records; nothing is due without any. */
type CaaCheck = ConstructorParameters<typeof Finalizer>[0]['caa']['check'];

/** `answers`: what the issuer says, attempt by attempt; the last one from then on. */
function world(answers: readonly (LeafResult | (() => LeafResult))[]) {
  const clock = new FakeClock();
  const altered = new Set<string>();
  const leases = new Map<string, OrderLease>();
  const blocked = new Set<string>();
  const requests: LeafRequest[] = [];
  const writes: AcmeWrite[] = [];
  const rows = new Map<string, AcmeOrder>();
  const state = { canSign: true, held: false };
  const caa: CaaCheck[] = [];
  const orders = storeOf({ rows, writes, altered, leases });
  const keys = new AccountKeys({
    get: () => (blocked.size > 0 ? ({} as BlockedKey) : undefined),
  });
  const dependencies: ConstructorParameters<typeof Finalizer>[0] = {
    book: new OrderBook({ orders, clock }),
    ...{ orders, keys },
    accounts: {
      byId: () =>
        altered.has('account') ? Promise.reject(notInLog('account')) : Promise.resolve(account),
    },
    eabKeys: {
      byId: (id) => {
        if (altered.has('key')) return Promise.reject(notInLog('key'));
        return Promise.resolve({
          ...{ id, ttlSeconds: 0, keyTypes: ['ec-p256'] },
          ...{ quotaCertificates: 9, quotaSeconds: 3_600 },
        } as unknown as EabKey);
      },
    },
    issuer: {
      issue: (batch) => {
        const answer = answers[Math.min(requests.length, answers.length - 1)] as LeafResult;
        requests.push(...batch);
        return Promise.resolve([
          typeof answer === 'function' ? (answer as () => LeafResult)() : answer,
        ]);
      },
    },
    caa: {
      isDue: () => caa.length > 0,
      check: (order, signal) => (caa.shift() as CaaCheck)(order, signal),
    },
    ...{ canSign: () => state.canSign, held: () => state.held },
    ...{ clock, logger: silentLogger },
  };
  const finalizer = new Finalizer(dependencies);
  const order = (): AcmeOrder => {
    const made = finalizing(clock);
    rows.set(made.id, made);
    return made;
  };
  return {
    ...{ clock, requests, writes, rows, finalizer, order, altered, blocked, leases, caa },
    /** Another process over the same rows. */
    another: () => new Finalizer(dependencies),
    setCanSign: (can: boolean) => void (state.canSign = can),
    setHeld: (is: boolean) => void (state.held = is),
  };
}

test('a certificate has the ID of its order as its request ID, and rests on its rights', async () => {
  const { finalizer, order, requests } = world([issued]);
  const asked = order();
  const done = await finalizer.finish(asked, 2_000);
  assert.deepEqual([done.stage, done.serial, done.version], ['issued', serial, 4]);
  const [request] = requests as [LeafRequest];
  assert.equal(request.requestId, asked.id);
  assert.deepEqual(request.caller, { class: 'acme', name: 'acme:a1' });
  assert.deepEqual(request.subject, { kind: 'names', dnsNames: ['*.shop.test'], ips: [] });
  assert.deepEqual(request.rights, [
    { kind: 'tenant', name: 'shop' },
    { kind: 'eab-key', id: 'k1' },
    { kind: 'acme-account', id: 'a1' },
    {
      kind: 'key',
      publicKeySha256: new AccountKeys({ get: () => undefined }).of(account).publicKeySha256,
    },
    { kind: 'acme-order', id: asked.id, version: 3 },
  ]);
  assert.deepEqual(request.claim, { by: 'tenant', name: 'shop' });
  assert.equal(request.places?.[0]?.counter, 'eab-key:k1');
});

test('while the token is away an order is processing and nothing is attempted', async () => {
  const { finalizer, order, requests, rows, clock, setCanSign } = world([issued]);
  setCanSign(false);
  const asked = order();
  const answer = finalizer.finish(asked, 2_000);
  await settle();
  clock.advance(2_000);
  assert.equal((await answer).stage, 'finalizing');
  assert.equal(requests.length, 0);
  setCanSign(true);
  await settle();
  clock.advance(30_000);
  await settle();
  assert.equal(rows.get(asked.id)?.stage, 'issued');
  assert.equal(requests.length, 1);
});

test('an order whose life is over ends while the token is away, and not while nothing is trusted', async () => {
  const { finalizer, order, requests, rows, clock, setCanSign, setHeld } = world([
    refused('HSM_UNAVAILABLE'),
  ]);
  setCanSign(false);
  setHeld(true);
  const asked = order();
  void finalizer.start();
  await settle();
  clock.advance(3_600_000);
  await settle();
  assert.equal(requests.length, 0, 'its life is not over yet');
  for (let tried = 0; tried < 3; tried += 1) {
    clock.advance(30_000);
    await settle();
  }
  assert.deepEqual([requests.length, rows.get(asked.id)?.stage], [0, 'finalizing']);
  setHeld(false);
  clock.advance(30_000);
  await settle();
  assert.deepEqual([requests.length, rows.get(asked.id)?.stage], [1, 'failed']);
  await finalizer.close();
});

test('later looks and requests add nothing to an order that waits, and each request has its own end', async (context) => {
  const { finalizer, order, requests, clock, setCanSign } = world([issued]);
  setCanSign(false);
  const asked = order();
  void finalizer.start();
  await settle();
  const { mock } = context.mock.method(Promise.prototype, 'then');
  for (let look = 0; look < 20; look += 1) {
    const late = finalizer.finish(asked, 1_000);
    clock.advance(60_000);
    assert.equal((await late).stage, 'finalizing');
    await settle();
  }
  mock.restore();
  const reactions = [...Map.groupBy(mock.calls, (call) => call.this).values()];
  const most = Math.max(0, ...reactions.map(({ length }) => length));
  assert.ok(most < 5, `one promise has ${most} reactions`);
  const both = [finalizer.finish(asked, 90_000), finalizer.finish(asked, 90_000)];
  setCanSign(true);
  clock.advance(30_000);
  await settle();
  assert.deepEqual(
    (await Promise.all(both)).map(({ stage }) => stage),
    ['issued', 'issued'],
  );
  assert.equal(requests.length, 1);
  await finalizer.close();
});

test('a failure of this side is tried again, and is never the end of an order before its time', async () => {
  const w = world([refused('HSM_UNAVAILABLE'), refused('POLICY_CHANGED'), issued]);
  const asked = w.order();
  const answer = w.finalizer.finish(asked, 10_000);
  for (let tried = 0; tried < 3; tried += 1) {
    await settle();
    w.clock.advance(1_000);
  }
  assert.equal((await answer).stage, 'issued');
  assert.equal(w.requests.length, 3);
});

test('a fault of the client ends the order with its problem', async () => {
  for (const [code, type] of [
    ['CSR_SIGNATURE_INVALID', 'badCSR'],
    ['POLICY_DENIED', 'rejectedIdentifier'],
    ['EAB_KEY_ENDED', 'unauthorized'],
    ['EAB_QUOTA_USED', 'rateLimited'],
  ] as const) {
    const { finalizer, order, writes } = world([refused(code)]);
    const done = await finalizer.finish(order(), 2_000);
    assert.deepEqual([done.stage, done.problem?.type], ['failed', type], code);
    assert.equal(writes[0]?.event.detail['code'], code);
  }
});

test('an order that was changed meanwhile is judged again as it is then', async () => {
  const w = world([
    () => {
      const [row] = w.rows.values();
      w.rows.set((row as AcmeOrder).id, { ...(row as AcmeOrder), version: 4 });
      return refused('ACME_ORDER_ENDED');
    },
    issued,
  ]);
  const answer = w.finalizer.finish(w.order(), 2_000);
  await settle();
  w.clock.advance(500);
  assert.equal((await answer).stage, 'issued');
  assert.deepEqual(w.requests.at(-1)?.rights.at(-1), {
    ...{ kind: 'acme-order', version: 4 },
    id: w.requests[0]?.requestId,
  });
});

test('after a crash every order goes on, each once', async () => {
  const { finalizer, order, rows, requests } = world([issued]);
  const all = Array.from({ length: 250 }, order);
  await Promise.all([finalizer.start(), finalizer.finish(all[0] as AcmeOrder, 2_000)]);
  assert.ok([...rows.values()].every(({ stage }) => stage === 'issued'));
  assert.equal(requests.length, 250);
});

test('after a crash one order that can not go on holds up no other', async () => {
  const w = world([refused('HSM_UNAVAILABLE')]);
  const all = Array.from({ length: 150 }, w.order);
  const started = w.finalizer.start();
  await settle();
  assert.equal(new Set(w.requests.map(({ requestId }) => requestId)).size, all.length);
  await w.finalizer.close();
  await started;
});

test('an order that waits at the end of the process stays for the next one', async () => {
  const { finalizer, order, rows } = world([refused('HSM_UNAVAILABLE')]);
  const asked = order();
  const answer = finalizer.finish(asked, 2_000);
  await settle();
  await finalizer.close();
  assert.equal((await answer).stage, 'finalizing');
  assert.equal(rows.get(asked.id)?.stage, 'finalizing');
});

test('an order whose account or EAB key differs from the log ends at once', async () => {
  for (const what of ['account', 'key']) {
    const { finalizer, order, altered, writes, requests } = world([issued]);
    altered.add(what);
    const done = await finalizer.finish(order(), 2_000);
    assert.deepEqual([done.stage, done.problem?.type], ['failed', 'serverInternal'], what);
    assert.equal(writes[0]?.event.detail['code'], 'OBJECT_NOT_IN_LOG');
    assert.equal(requests.length, 0);
  }
});

test('an order of an account whose key was blocked ends at once', async () => {
  const { finalizer, order, blocked, requests } = world([issued]);
  blocked.add('the key');
  const done = await finalizer.finish(order(), 2_000);
  assert.deepEqual([done.stage, done.problem?.type], ['failed', 'unauthorized']);
  assert.equal(requests.length, 0);
});

test('an order whose own row differs from the log is let go, and taken up when it is right', async () => {
  const { finalizer, order, altered, rows, requests, clock } = world([
    refused('OBJECT_NOT_IN_LOG'),
    issued,
  ]);
  const asked = order();
  const answer = finalizer.finish(asked, 2_000);
  altered.add('order');
  await settle();
  clock.advance(500);
  assert.equal((await answer).stage, 'finalizing');
  await finalizer.start();
  clock.advance(60_000);
  await settle();
  assert.equal(requests.length, 1, 'nobody asks for it any more');
  altered.delete('order');
  clock.advance(60_000);
  await settle();
  assert.equal(rows.get(asked.id)?.stage, 'issued');
});

test('what can not be issued ends with the life of the order, whatever holds it up', async () => {
  const { finalizer, order, rows, writes, clock } = world([refused('OBJECT_NOT_IN_LOG')]);
  const asked = order();
  const answer = finalizer.finish(asked, 1_000);
  await settle();
  clock.advance(1_000);
  assert.equal((await answer).stage, 'finalizing');
  for (const waitMs of [3_600_000, 30_000, 30_000]) {
    clock.advance(waitMs);
    await settle();
  }
  assert.equal(rows.get(asked.id)?.stage, 'failed');
  assert.equal(writes[0]?.event.detail['code'], 'OBJECT_NOT_IN_LOG');
});

test('of two processes one attempts an order, and the other takes over when that one is gone', async () => {
  const w = world([issued]);
  const asked = w.order();
  const dead = w.another().lease();
  w.leases.set(asked.id, dead);
  const started = w.finalizer.start();
  for (let waited = 0; waited < 9_000; waited += 500) {
    await settle();
    w.clock.advance(500);
  }
  assert.equal(w.requests.length, 0);
  for (let waited = 0; waited < 20_000; waited += 500) {
    await settle();
    w.clock.advance(500);
  }
  await started;
  assert.equal(w.rows.get(asked.id)?.stage, 'issued');
  assert.equal(w.requests.length, 1);
});

test('what another process has left is taken up from time to time', async () => {
  const { finalizer, order, rows, clock } = world([issued]);
  await finalizer.start();
  const left = order();
  clock.advance(60_000);
  await settle();
  assert.equal(rows.get(left.id)?.stage, 'issued');
  await finalizer.close();
});

test('CAA records are looked at before anything is issued, and the order goes on as it is then', async () => {
  const { finalizer, order, requests, caa, rows } = world([issued]);
  caa.push((asked) => {
    const changed = { ...asked, version: 4 };
    rows.set(asked.id, changed);
    return Promise.resolve(ok(changed));
  });
  const done = await finalizer.finish(order(), 2_000);
  assert.deepEqual([done.stage, done.version], ['issued', 5]);
  assert.deepEqual(requests[0]?.rights.at(-1), {
    ...{ kind: 'acme-order', id: done.id },
    version: 4,
  });
});

test('an order that CAA records forbid ends with that problem, and nothing is issued', async () => {
  const { finalizer, order, requests, caa } = world([issued]);
  caa.push(() => Promise.resolve(fail('ACME_CAA_REFUSED', 'shop.test forbids it')));
  const done = await finalizer.finish(order(), 2_000);
  assert.deepEqual([done.stage, done.problem?.type], ['failed', 'caa']);
  assert.match(done.problem?.detail ?? '', /^shop\.test forbids it\. .*caaIdentities/);
  assert.equal(requests.length, 0);
});

test('an order waits while too few vantage agents look at its CAA records, as long as it lives', async () => {
  const short = () => Promise.resolve(fail('ACME_VANTAGE_SHORT', 'too few'));
  const { finalizer, order, requests, caa, clock } = world([issued]);
  caa.push(short, short, (asked) => Promise.resolve(ok(asked)));
  const answer = finalizer.finish(order(), 10_000);
  for (let tried = 0; tried < 2; tried += 1) {
    await settle();
    assert.equal(requests.length, 0);
    clock.advance(1_000);
  }
  assert.equal((await answer).stage, 'issued');
  const late = world([issued]);
  late.caa.push(short);
  const old = late.order();
  late.clock.advance(3_601_000);
  assert.equal((await late.finalizer.finish(old, 2_000)).stage, 'failed');
});

test('a look at CAA records that the close cuts off ends no order', async () => {
  const { finalizer, order, requests, caa } = world([issued]);
  caa.push(
    (_, signal) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve(fail('ACME_CAA_REFUSED', 'cut off')));
      }),
  );
  const answer = finalizer.finish(order(), 2_000);
  await settle();
  await finalizer.close();
  assert.equal((await answer).stage, 'finalizing');
  assert.equal(requests.length, 0);
});
