import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { serverConfigSchema } from '../../../src/config/index.ts';
import { ckrMeaning, ckrName, hsmError, isFinal } from '../../../src/hsm/ckr.ts';
import type { SignItem } from '../../../src/hsm/signing-port.ts';
import { keySpecs } from '../../../src/hsm/key-spec.ts';
import {
  chunkMaximum,
  backgroundChunkSize,
  chunkSize,
  respawnDelayMs,
  respawnMaximumMs,
  signersStatus,
} from '../../../src/hsm/respawn.ts';
import { callOf, failedOutcome, SignQueue } from '../../../src/hsm/sign-queue.ts';
import { chooseEngine, type SigningEngine } from '../../../src/hsm/signing-engine.ts';
import type { SigningKey } from '../../../src/hsm/signing-key.ts';

describe('the meaning of CKR values', () => {
  it('finds the name wherever pkcs11js or graphene put it, and names the operation in the message', () => {
    assert.equal(
      ckrName(new Error('CKR_PIN_INCORRECT:160\n    at PKCS11.C_Login (x.js:1:2)')),
      'CKR_PIN_INCORRECT',
    );
    assert.equal(ckrName(new Error('cannot open shared object file')), undefined);
    assert.equal(ckrName('CKR_GENERAL_ERROR'), undefined);
    const error = hsmError('C_Login', new Error('CKR_PIN_INCORRECT'));
    assert.deepEqual(
      [error.code, error.grade, error.message],
      ['HSM_PIN_WRONG', 'fatal', 'C_Login: CKR_PIN_INCORRECT'],
    );
    assert.equal(hsmError('C_Sign', new Error('CKR_SOMETHING_NEW')).code, 'HSM_FAILED');
    assert.equal(hsmError('C_Other', error), error);
  });

  it('a locked PIN has a code of its own and is final', () => {
    const error = hsmError('C_Login', new Error('CKR_PIN_LOCKED'));
    assert.deepEqual([error.code, error.grade], ['HSM_PIN_LOCKED', 'fatal']);
    assert.match(error.next, /security officer/);
  });

  it('never counts a PIN error as something that a new session or process could cure', () => {
    for (const name of [
      'CKR_PIN_INCORRECT',
      'CKR_PIN_LOCKED',
      'CKR_PIN_EXPIRED',
      'CKR_PIN_LEN_RANGE',
    ]) {
      assert.equal(ckrMeaning(name).cure, 'none');
      assert.ok(isFinal(ckrMeaning(name).code));
    }
    assert.equal(ckrMeaning('CKR_SESSION_HANDLE_INVALID').cure, 'reopen');
    assert.equal(ckrMeaning('CKR_DEVICE_REMOVED').cure, 'respawn');
    assert.ok(!isFinal('HSM_UNAVAILABLE'));
  });
});

describe('decisions of the signers', () => {
  it('waits longer after each failure, spread over half of the time, and never more than a second', () => {
    for (let failures = 0; failures < 2000; failures += 7) {
      const [low, high] = [respawnDelayMs(failures, 0), respawnDelayMs(failures, 0.999)];
      assert.ok(low > 0 && low < high && high <= respawnMaximumMs);
      assert.ok(low >= respawnDelayMs(Math.max(failures - 1, 0), 0));
    }
  });

  it('waits by default far less than 5 s in all before the next start of a signer', () => {
    const { deadlineMs } = serverConfigSchema.parse({
      trustDomain: 'td',
      dataDir: '/d',
      hsm: {
        module: '/m',
        issuing: { label: 'i', pinFile: '/p' },
        root: { label: 'r', pinFile: '/q' },
      },
    }).hsm;
    // the silence, the second look of signer-link.ts, the longest wait for a start that failed
    // before; what is left is for the start itself
    assert.ok(
      deadlineMs + 100 + respawnMaximumMs <= 3_500,
      `${deadlineMs} + 100 + ${respawnMaximumMs} ms`,
    );
  });

  it('derives the status: closed before fatal before all else, open while no signer is ready', () => {
    const facts = { closed: false, fatal: false, started: true, signers: 2, signersReady: 2 };
    assert.equal(signersStatus(facts), 'ready');
    assert.equal(signersStatus({ ...facts, signersReady: 1 }), 'degraded');
    assert.equal(signersStatus({ ...facts, signersReady: 0 }), 'open');
    assert.equal(signersStatus({ ...facts, started: false, signersReady: 0 }), 'starting');
    assert.equal(signersStatus({ ...facts, fatal: true }), 'fatal');
    assert.equal(signersStatus({ ...facts, fatal: true, closed: true }), 'closed');
  });

  it('shares the queue among the signers, bounded by time and count, and never hands over nothing', () => {
    const facts = { queued: 100, signersReady: 2, concurrency: 1, itemMs: 0.2 };
    assert.equal(chunkSize(facts), 50);
    assert.equal(chunkSize({ ...facts, queued: 1 }), 1);
    assert.equal(chunkSize({ ...facts, queued: 10_000, itemMs: 0.01 }), chunkMaximum);
    assert.equal(chunkSize({ ...facts, itemMs: 400 }), 1, 'a slow token gets one at a time');
    assert.equal(
      chunkSize({ ...facts, itemMs: 3 }),
      16,
      'on a crowded machine hand-overs stay worth their cost',
    );
    assert.equal(chunkSize({ ...facts, itemMs: 20 }), 2);
    assert.equal(
      chunkSize({ ...facts, itemMs: 400, concurrency: 16 }),
      16,
      'or as many as it works on at once',
    );
    assert.ok(
      chunkSize({ ...facts, queued: 10_000, itemMs: undefined }) <= 16,
      'little until its speed is known',
    );
    assert.equal(chunkSize({ ...facts, signersReady: 0, queued: 3 }), 3);
  });

  it('does not share out a few items that one signer answers soon', () => {
    const facts = { queued: 12, signersReady: 2, concurrency: 1, itemMs: 0.4 };
    assert.equal(chunkSize(facts), 12);
    assert.equal(chunkSize({ ...facts, itemMs: 5 }), 6, 'slow ones are shared out');
    assert.equal(chunkSize({ ...facts, itemMs: undefined }), 6, 'and those of unknown speed');
    assert.equal(chunkSize({ ...facts, queued: 40 }), 20, 'and many');
  });

  it('keeps a signer no longer than some milliseconds for items for which nobody waits', () => {
    const facts = { queued: 1_000, signersReady: 2, concurrency: 1, itemMs: 0.1 };
    assert.equal(backgroundChunkSize(facts), 20);
    assert.equal(backgroundChunkSize({ ...facts, queued: 10 }), 5);
    assert.equal(backgroundChunkSize({ ...facts, itemMs: 20 }), 1, 'at least one');
    assert.equal(backgroundChunkSize({ ...facts, itemMs: 20, concurrency: 16 }), 16);
    assert.equal(backgroundChunkSize({ ...facts, itemMs: 0.001 }), chunkMaximum);
    assert.equal(backgroundChunkSize({ ...facts, itemMs: undefined }), 8);
  });

  it('gives each caller his outcomes in order, each settled once', async () => {
    const items = Array.from(
      { length: 5 },
      (): SignItem => ({ ckaId: 'aa', bytes: Buffer.alloc(1), format: 'x509' }),
    );
    const { queued, outcomes } = callOf(items);
    for (const index of [3, 1, 4, 0])
      queued[index]?.settle(failedOutcome('HSM_UNAVAILABLE', `${index}`));
    queued[3]?.settle(failedOutcome('INTERNAL', 'again'));
    queued[2]?.settle({ ok: true, signature: Buffer.from('s') });
    const settled = await outcomes;
    assert.deepEqual(
      settled.map((outcome) => (outcome.ok ? 'ok' : outcome.message)),
      ['0', '1', 'ok', '3', '4'],
    );
    assert.deepEqual(await callOf([]).outcomes, []);
  });

  it('leaves out of the queue what nobody waits for any more, and takes others in its place', () => {
    const queue = new SignQueue();
    const settled: string[] = [];
    const push = (ckaId: string, signal?: AbortSignal): void =>
      queue.push(
        {
          item: { ckaId, bytes: Buffer.alloc(0), format: 'jose' },
          settle: (outcome) => settled.push(`${ckaId} ${outcome.ok ? 'ok' : outcome.code}`),
          signal,
        },
        0,
      );
    const caller = new AbortController();
    push('a', caller.signal);
    push('b');
    push('c', caller.signal);
    push('d', new AbortController().signal);
    caller.abort();
    assert.deepEqual(
      queue.take({ of: 'callers', queued: 4 }, 2).map(({ item }) => item.ckaId),
      ['b', 'd'],
    );
    assert.deepEqual(settled, ['a CANCELLED', 'c CANCELLED']);
    assert.equal(queue.length, 0);
  });

  it('lets items for which nobody waits go last, and every second time once they wait for long', () => {
    const queue = new SignQueue();
    const push = (background: boolean, nowMs: number): void =>
      queue.push(
        {
          item: {
            ...{ ckaId: 'aa', bytes: Buffer.alloc(0), format: 'x509' },
            ...(background ? ({ background: true } as const) : {}),
          },
          settle: () => {},
          signal: undefined,
        },
        nowMs,
      );
    const next = (nowMs: number): string => {
      const turn = queue.turn(nowMs);
      if (turn === undefined) return 'none';
      queue.take(turn, 1);
      return `${turn.of} of ${turn.queued}`;
    };
    for (let count = 0; count < 3; count += 1) push(true, 0);
    for (let count = 0; count < 4; count += 1) push(false, 1);
    assert.equal(queue.length, 7);
    assert.deepEqual([next(1), next(249)], ['callers of 4', 'callers of 3']);
    assert.deepEqual([next(250), next(250)], ['late of 3', 'callers of 2']);
    assert.deepEqual([next(251), next(251)], ['late of 2', 'callers of 1']);
    push(true, 200);
    assert.deepEqual([next(252), next(252), next(252)], ['late of 2', 'background of 1', 'none']);
  });

  it('takes from the queue in order through many refills', () => {
    const queue = new SignQueue();
    const seen: number[] = [];
    let pushed = 0;
    for (let round = 0; round < 400; round++) {
      for (let n = 0; n < 30; n++) {
        const index = pushed++;
        queue.push(
          {
            item: { ckaId: 'aa', bytes: Buffer.alloc(0), format: 'x509' },
            settle: () => seen.push(index),
            signal: undefined,
          },
          0,
        );
      }
      for (const { settle } of queue.take({ of: 'callers', queued: 30 }, 29))
        settle(failedOutcome('INTERNAL', ''));
    }
    assert.equal(queue.length, 400);
    queue.failAll('INTERNAL', '');
    assert.equal(queue.length, 0);
    assert.deepEqual(
      seen,
      Array.from({ length: pushed }, (_, index) => index),
    );
  });
});

describe('the choice between synchronous and asynchronous signing', () => {
  const key: SigningKey = {
    ckaId: 'aa',
    spec: keySpecs['ec-p256'],
    handle: Buffer.alloc(8),
    mechanism: { mechanism: 0 },
    outputLength: 128,
    publicKey: undefined as never,
  };

  /**
   * A token on a simulated clock: `cpu` of each operation's `ms` is spent in this process, `lanes`
   * run at once. Other processes have the CPU for `crowdedMs` more.
   */
  async function choose(ms: number, cpu: number, lanes: number, crowdedMs = 0): Promise<string> {
    let [nowMs, cpuMs, waitedMs, pending] = [0, 0, 0, 0];
    const spend = (): Buffer => {
      nowMs += ms + crowdedMs;
      cpuMs += ms * cpu;
      waitedMs += crowdedMs;
      return Buffer.alloc(64);
    };
    const sync: SigningEngine = { mode: 'sync', concurrency: 1, sign: spend };
    const async: SigningEngine = {
      mode: 'async',
      concurrency: 8,
      sign: () => {
        if (pending++ % lanes === 0) spend();
        return Promise.resolve(Buffer.alloc(64));
      },
    };
    return (
      await chooseEngine({ sync, async }, key, Buffer.alloc(32), {
        monotonicMs: () => nowMs,
        cpuMs: () => cpuMs,
        crowdedMs: () => waitedMs,
      })
    ).mode;
  }

  it('signs synchronously where the token computes in this process, even if other cores idle', async () => {
    assert.equal(await choose(0.05, 1, 1), 'sync');
    assert.equal(await choose(6, 0.95, 4), 'sync');
  });

  it('takes a crowded machine neither for a slow token nor for a busy one', async () => {
    assert.equal(await choose(0.2, 1, 8, 3), 'sync');
    assert.equal(await choose(5, 0.05, 8, 20), 'async');
  });

  it('signs asynchronously where the token is waited for and takes several at once, and only there', async () => {
    assert.equal(await choose(5, 0.05, 8), 'async');
    assert.equal(
      await choose(5, 0.05, 1),
      'sync',
      'a token that works on one at a time gains nothing',
    );
    assert.equal(await choose(300, 0.01, 8), 'async', 'a very slow one is not measured for long');
  });
});
