import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CertificateRecord } from '../../../../src/domain/index.ts';
import {
  RepeatMemory,
  type RepeatableAsk,
} from '../../../../src/services/issuing/repeat-memory.ts';
import { FakeClock } from '../../../support/agent.ts';

const ask: RepeatableAsk = {
  requester: 'token:prod:system:serviceaccount:shop:web',
  credentialSha256: 'aa',
  csrDer: Buffer.from('csr'),
  publicKeySha256: 'bb',
};

/** A memory over an inventory that records what is issued under an ID. */
function world() {
  const clock = new FakeClock();
  const issued = new Map<string, number>();
  const issuance = {
    findRequest: (requester: string, requestId: string, publicKeySha256: string) => {
      const createdAtMs = issued.get(`${requester} ${requestId} ${publicKeySha256}`);
      return Promise.resolve(
        createdAtMs === undefined ? undefined : ({ createdAtMs } as CertificateRecord),
      );
    },
  };
  return {
    clock,
    /** A memory as after a start of the server. */
    memory: () => new RepeatMemory({ issuance, clock }),
    issue: (requestId: string) =>
      issued.set(`${ask.requester} ${requestId} ${ask.publicKeySha256}`, clock.nowMs()),
  };
}

describe('an ask without a request ID', () => {
  test('has the same ID for 60 s, and another one afterwards', async () => {
    const { clock, memory } = world();
    const asks = memory();
    const first = await asks.requestIdOf(ask);
    clock.advance(59_999);
    assert.equal(await asks.requestIdOf(ask), first);
    clock.advance(1);
    assert.notEqual(await asks.requestIdOf(ask), first);
  });

  test('counts its time from the first ask, so that repetitions do not prolong it', async () => {
    const { clock, memory } = world();
    const asks = memory();
    const first = await asks.requestIdOf(ask);
    clock.advance(40_000);
    assert.equal(await asks.requestIdOf(ask), first);
    clock.advance(40_000);
    assert.notEqual(await asks.requestIdOf(ask), first);
  });

  test('has its own ID for each caller, credential and CSR', async () => {
    const asks = world().memory();
    const others: Partial<RepeatableAsk>[] = [
      { requester: 'token:prod:system:serviceaccount:shop:we' },
      { credentialSha256: 'ab' },
      { csrDer: Buffer.from('csr2') },
    ];
    const ids = [await asks.requestIdOf(ask)];
    for (const other of others) ids.push(await asks.requestIdOf({ ...ask, ...other }));
    assert.equal(new Set(ids).size, 4);
    for (const id of ids)
      assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  test('has the ID of what was issued in the last 60 s, also after a restart', async () => {
    const { clock, memory, issue } = world();
    for (const lostMs of [1, 30_000, 59_999]) {
      const first = await memory().requestIdOf(ask);
      issue(first);
      clock.advance(lostMs);
      assert.equal(await memory().requestIdOf(ask), first, `after ${lostMs} ms`);
      clock.advance(120_000);
      assert.notEqual(await memory().requestIdOf(ask), first);
    }
  });

  test('that comes twice at once has one ID and is looked up once', async () => {
    const { clock } = world();
    let looks = 0;
    const asks = new RepeatMemory({
      issuance: {
        findRequest: () => {
          looks += 1;
          return Promise.resolve(undefined);
        },
      },
      clock,
    });
    const [one, other] = await Promise.all([asks.requestIdOf(ask), asks.requestIdOf(ask)]);
    assert.equal(one, other);
    assert.equal(looks, 1);
  });

  test('is looked up again where the inventory did not answer', async () => {
    const { clock } = world();
    let broken = true;
    const asks = new RepeatMemory({
      issuance: {
        findRequest: () =>
          broken ? Promise.reject(new Error('no database')) : Promise.resolve(undefined),
      },
      clock,
    });
    await assert.rejects(asks.requestIdOf(ask));
    broken = false;
    assert.match(await asks.requestIdOf(ask), /^[0-9a-f-]{36}$/);
  });

  test('is forgotten after its time', async () => {
    const { clock, memory } = world();
    const asks = memory();
    await asks.requestIdOf(ask);
    clock.advance(60_000);
    await asks.requestIdOf({ ...ask, credentialSha256: 'cc' });
    assert.equal(asks.size, 1);
  });
});
