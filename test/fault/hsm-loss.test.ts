import assert from 'node:assert/strict';
import { createPublicKey, randomBytes, verify, type KeyObject } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';

import {
  LoginTurns,
  openTokenAdmin,
  type KeyHandle,
  type ManagedSigners,
  type SignItem,
  type SignOutcome,
} from '../../src/hsm/index.ts';
import { adminOptions, childrenOf, hsmFixture, isAlive, type HsmFixture } from '../support/hsm.ts';
import { nextTurn, patienceMs, until } from '../support/until.ts';

interface Load {
  /** Time of the last signature, monotonic ms. */
  lastSignedMs(): number;
  signed(): number;
  failed(): number;
  stop(): Promise<{ readonly signed: number; readonly failed: number }>;
}

const callers = 4;
const itemsPerCall = 20;

/**
 * Calls without pause, each outcome checked: a valid signature or HSM_UNAVAILABLE, nothing else.
 */
function load(signers: ManagedSigners, key: KeyHandle): Load {
  const publicKey: KeyObject = createPublicKey({ key: key.spkiDer, format: 'der', type: 'spki' });
  let [running, signed, failed, lastMs] = [true, 0, 0, performance.now()];
  const caller = async (): Promise<void> => {
    while (running) {
      const items = Array.from(
        { length: itemsPerCall },
        (): SignItem => ({ ckaId: key.ckaId, bytes: randomBytes(300), format: 'x509' }),
      );
      const outcomes = await signers.sign(items);
      assert.equal(outcomes.length, items.length);
      outcomes.forEach((outcome: SignOutcome, index) => {
        if (outcome.ok) {
          assert.ok(
            verify('sha256', (items[index] as SignItem).bytes, publicKey, outcome.signature),
            'a wrong signature was released',
          );
          signed++;
          lastMs = performance.now();
        } else {
          assert.deepEqual(
            [outcome.kind, outcome.code],
            ['failed', 'HSM_UNAVAILABLE'],
            outcome.message,
          );
          failed++;
        }
      });
      if (outcomes.some(({ ok }) => !ok)) await nextTurn();
    }
  };
  const callersDone = Promise.all(Array.from({ length: callers }, caller));
  // A broken assertion shows at stop(), not as an unhandled rejection before.
  callersDone.catch(() => {});
  return {
    lastSignedMs: () => lastMs,
    signed: () => signed,
    failed: () => failed,
    stop: async () => {
      running = false;
      await callersDone;
      return { signed, failed };
    },
  };
}

describe('signers that lose their token or their life', () => {
  let fixture: HsmFixture;
  let key: KeyHandle;
  before(async () => {
    fixture = await hsmFixture();
    key = await fixture.makeKey('ec-p256');
  });
  after(() => fixture[Symbol.asyncDispose]());

  async function readySigners(mode: 'sync' | 'async', deadlineMs = 1000): Promise<ManagedSigners> {
    const signers = await fixture.signers({ mode, deadlineMs, probeIntervalMs: 300 });
    await signers.useKey(key);
    return signers;
  }

  const moveAway = (): Promise<void> =>
    rename(fixture.tokens.tokenDir, `${fixture.tokens.tokenDir}.away`);
  const moveBack = (): Promise<void> =>
    rename(`${fixture.tokens.tokenDir}.away`, fixture.tokens.tokenDir);

  for (const mode of ['sync', 'async'] as const) {
    // how long it takes is bounded by what the signers wait for (test/unit/hsm-decisions.test.ts)
    // and measured by the drill hsm-loss
    it(`signs again by itself after the token directory came back, calls made meanwhile (${mode})`, async () => {
      const signers = await readySigners(mode);
      const running = load(signers, key);
      await until(() => running.signed() > 100, 'the load is on');
      await moveAway();
      try {
        await until(() => signers.state().status === 'open', 'the circuit opens');
        const failed = running.failed();
        await until(
          () => running.failed() > failed + 1_000,
          'calls are answered while the token is away',
        );
      } finally {
        await moveBack();
      }
      const backMs = performance.now();
      await until(() => running.lastSignedMs() > backMs, 'signing resumes');
      await until(() => signers.state().status === 'ready', 'all signers are back');
      const { signed, failed } = await running.stop();
      assert.ok(signed > 100 && failed > 0, `${signed} signed, ${failed} failed`);
      await signers.close();
    });
  }

  it('notices a token that is lost while nothing is asked of it, and recovers before the next request', async () => {
    const signers = await readySigners('sync');
    await moveAway();
    try {
      await until(() => signers.state().status === 'open', 'the loss is noticed');
    } finally {
      await moveBack();
    }
    await until(() => signers.state().status === 'ready', 'all signers are back');
    const [outcome] = await signers.sign([
      { ckaId: key.ckaId, bytes: Buffer.from('x'), format: 'x509' },
    ]);
    assert.equal(outcome?.ok, true);
    await signers.close();
  });

  for (const mode of ['sync', 'async'] as const) {
    it(`goes on signing when signers are killed, and replaces them (${mode})`, async () => {
      const signers = await readySigners(mode);
      const running = load(signers, key);
      for (let round = 0; round < 2; round++) {
        const signed = running.signed();
        await until(() => running.signed() > signed + 50, 'the load is on');
        const [victim] = signers.pids();
        process.kill(victim as number, 'SIGKILL');
        await until(
          () => signers.state().status === 'ready' && !signers.pids().includes(victim as number),
          'the signer is replaced',
        );
      }
      const sinceMs = performance.now();
      await until(() => running.lastSignedMs() > sinceMs, 'signing goes on');
      await running.stop();
      assert.ok(signers.state().respawns >= 2);
      await signers.close();
    });
  }

  it('kills and replaces a stopped signer, under load and idle', async () => {
    // far above what a signer that is merely starved of its processor is silent for
    const signers = await readySigners('sync', 2000);
    const seen: string[] = [];
    signers.onChange(({ status }) => seen.push(status));
    const running = load(signers, key);
    await until(() => running.signed() > 0, 'the load is on');
    const stopAndWait = async (): Promise<void> => {
      const [victim] = signers.pids();
      process.kill(victim as number, 'SIGSTOP');
      await until(() => !isAlive(victim as number), 'the stopped signer is killed');
      await until(() => signers.state().status === 'ready', 'it is replaced');
    };
    await stopAndWait();
    const { signed, failed } = await running.stop();
    // those that were handed to the stopped one, and no other: while one signer is there, no call
    // is refused
    assert.ok(
      signed > 0 &&
        failed > 0 &&
        (seen.includes('open') || failed <= callers * itemsPerCall * signers.state().respawns),
      `${signed} signed, ${failed} failed, ${seen.join(', ')}`,
    );
    await stopAndWait();
    await signers.close();
  });

  it('recovers from sessions that were all invalidated', async () => {
    for (const mode of ['sync', 'async'] as const) {
      const signers = await readySigners(mode);
      const running = load(signers, key);
      await until(() => running.signed() > 0, 'the load is on');
      signers.invalidateSessions();
      const sinceMs = performance.now();
      await until(() => signers.state().respawns > 0, 'recovery begins');
      await until(() => signers.state().status === 'ready', 'recovery ends');
      await until(() => running.lastSignedMs() > sinceMs, 'signing goes on');
      await running.stop();
      await signers.close();
    }
  });

  it('keeps a key in use across respawns, and one that was taken into use while a signer was missing', async () => {
    const signers = await readySigners('sync');
    const second = await fixture.makeKey('ec-p384');
    // at the moment in which one is missing, however short it is
    const taken = new Promise<void>((resolve, reject) => {
      const stop = signers.onChange(({ signersReady }) => {
        if (signersReady !== 1) return;
        stop();
        signers.useKey(second).then(resolve, reject);
      });
    });
    process.kill(signers.pids()[0] as number, 'SIGKILL');
    await taken;
    await until(() => signers.state().status === 'ready', 'it is replaced');
    const items = Array.from(
      { length: 40 },
      (_, index): SignItem => ({
        ckaId: index % 2 === 0 ? key.ckaId : second.ckaId,
        bytes: randomBytes(9),
        format: 'jose',
      }),
    );
    assert.ok((await signers.sign(items)).every(({ ok }) => ok));
    await signers.close();
  });

  it('opens the circuit at once when all signers are gone, answers without delay, and tells listeners', async () => {
    const signers = await readySigners('sync');
    const seen: string[] = [];
    const answered: Promise<readonly SignOutcome[] | 'late'>[] = [];
    const stop = signers.onChange(({ status }) => {
      seen.push(status);
      // in the moment of the opening; without delay: before anything else of this process has its
      // turn
      if (status === 'open')
        answered.push(
          Promise.race([
            signers.sign([{ ckaId: key.ckaId, bytes: Buffer.from('x'), format: 'x509' }]),
            new Promise<'late'>((resolve) => setImmediate(() => resolve('late'))),
          ]),
        );
    });
    for (const pid of signers.pids()) process.kill(pid, 'SIGKILL');
    await until(() => answered.length > 0, 'open');
    for (const outcomes of await Promise.all(answered))
      assert.ok(
        outcomes !== 'late' && outcomes[0]?.ok === false && outcomes[0].code === 'HSM_UNAVAILABLE',
        String(outcomes),
      );
    await until(() => signers.state().status === 'ready', 'ready');
    assert.deepEqual([seen[0], seen.at(-1)], ['degraded', 'ready']);
    assert.ok(
      seen.every((status, index) => status !== seen[index - 1]),
      seen.join(', '),
    );
    stop();
    const told = seen.length;
    await signers.close();
    assert.equal(seen.length, told);
    assert.deepEqual(childrenOf(process.pid), []);
  });

  it('lets a token be administered while its signers are killed and log in again: one login at a time', async () => {
    const logins = new LoginTurns();
    const signers = await fixture.signers({ mode: 'sync', processes: 3, logins });
    await signers.useKey(key);
    let killing = true;
    let opened = 0;
    const enough = (): boolean => opened >= 10 && signers.state().respawns >= 5;
    const killer = (async () => {
      while (killing) {
        const pids = signers.pids();
        for (const pid of pids) process.kill(pid, 'SIGKILL');
        await until(
          () => !killing || signers.pids().some((pid) => !pids.includes(pid)),
          'a signer is forked again',
        );
      }
    })();
    const limitMs = performance.now() + patienceMs;
    const administer = async (): Promise<void> => {
      while (!enough() && performance.now() < limitMs) {
        await using admin = await openTokenAdmin(fixture.token, { ...adminOptions, logins });
        assert.equal((await admin.findKey(key.ckaId))?.ckaId, key.ckaId);
        opened++;
      }
    };
    try {
      await Promise.all([administer(), administer()]);
    } finally {
      killing = false;
      await killer;
    }
    assert.ok(enough(), `${opened} times, ${signers.state().respawns} respawns`);
    await until(() => signers.state().status === 'ready', 'the signers are back');
    await signers.close();
  });

  it('stays away from a key that was destroyed in the token: unavailable, no crash', async () => {
    const doomed = await fixture.makeKey('ec-p256');
    const signers = await readySigners('sync');
    await signers.useKey(doomed);
    const admin = await openTokenAdmin(fixture.token, adminOptions);
    await admin.destroyKey(doomed.ckaId);
    await admin.close();
    // a signer that has not noticed yet would take the items of the other key with it
    const holders = childrenOf(process.pid);
    await until(() => !holders.some(isAlive), 'each signer that held the key is replaced');
    await until(() => signers.state().status === 'ready', 'the signers are back');
    const outcomes = await signers.sign(
      [key, doomed].map(({ ckaId }) => ({ ckaId, bytes: randomBytes(9), format: 'x509' as const })),
    );
    assert.deepEqual(
      outcomes.map(({ ok }) => ok),
      [true, false],
    );
    await signers.close();
  });
});
