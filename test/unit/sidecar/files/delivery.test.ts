import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fail, ok, PkiError } from '../../../../src/common/errors/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import type { StoredSet } from '../../../../sidecar/files/certificate-set.ts';
import { entryOf as agentEntry, settle } from '../../../support/agent.ts';
import { DeliveryBench, lifeSeconds } from '../../../support/delivery-world.ts';

/** Lets time pass in steps, as timers and work alternate. */
async function pass(bench: DeliveryBench, seconds: number): Promise<void> {
  for (let left = seconds; left > 0; left -= 15) {
    bench.clock.advance(Math.min(15, left) * 1000);
    await settle(10);
  }
}

async function started(
  target: ConstructorParameters<typeof DeliveryBench>[0] = {},
): Promise<DeliveryBench> {
  const bench = new DeliveryBench(target);
  await bench.delivery.start();
  await settle();
  return bench;
}

const forever = (): Promise<never> => new Promise(() => {});

describe('a target', () => {
  test('gets a set at the start, and a new one with a new leaf at a third of each life', async () => {
    const bench = await started();
    assert.equal(bench.state, 'proven');
    for (let renewal = 2; renewal <= 4; renewal += 1) {
      await pass(bench, lifeSeconds / 3 + 15);
      assert.deepEqual([bench.state, bench.leases], ['proven', renewal]);
      assert.equal(bench.server.loaded, bench.sets.link);
    }
    assert.deepEqual(
      bench.events.filter((each) => each.startsWith('replaced')),
      ['replaced 0001', 'replaced 0002', 'replaced 0003'],
    );
  });

  test('gets a new set when the roots change, spread over a while', async () => {
    const bench = await started();
    bench.roots = 'bb'.repeat(32);
    bench.delivery.changed(new Set());
    await settle();
    assert.equal(bench.leases, 1, 'not at once');
    await pass(bench, 30);
    assert.deepEqual([bench.state, bench.leases], ['proven', 2]);
  });

  test('gets a new set inside the window when its authority is tainted', async () => {
    const bench = await started();
    bench.world = { tainted: new Map([['issuer', 120]]) };
    bench.delivery.changed(new Set());
    await pass(bench, 45);
    assert.equal(bench.leases, 1);
    await pass(bench, 30);
    assert.equal(bench.leases, 2);
  });

  test('gets a new set inside the window when its certificate was revoked, and one is enough', async () => {
    const bench = await started();
    bench.world = { tainted: new Map([['0001', 120]]) };
    bench.delivery.changed(new Set());
    await pass(bench, 75);
    assert.deepEqual([bench.state, bench.leases], ['proven', 2]);
    await pass(bench, 130);
    assert.equal(bench.leases, 2);
  });

  test('removes the set before after its grace, and tells the driver first', async () => {
    const bench = await started({ graceSeconds: 60 });
    await pass(bench, lifeSeconds / 3 + 15);
    assert.deepEqual(
      bench.sets.sets.map(({ number }) => number),
      [1, 2],
    );
    await pass(bench, 75);
    assert.deepEqual(
      bench.sets.sets.map(({ number }) => number),
      [2],
    );
    assert.equal(bench.server.calls.at(-1), 'remove 1');
  });

  test('goes back by itself when the new set is not shown, and tries it again with growing waits', async () => {
    const bench = await started();
    bench.server.takes = false;
    await pass(bench, lifeSeconds / 3 + 15);
    assert.equal(bench.state, 'rolled-back');
    assert.deepEqual([bench.server.loaded, bench.sets.link], ['1-0001', '1-0001']);
    assert.match(bench.delivery.status().reason, /UNREACHABLE: the listener shows 0001/);
    assert.equal(bench.events.at(-1), 'rolled-back');
    await pass(bench, 300);
    assert.ok(bench.events.filter((each) => each === 'rolled-back').length >= 2, 'tried again');
    assert.equal(bench.leases, 2, 'with the same set');
    bench.server.takes = true;
    await pass(bench, 300);
    assert.deepEqual([bench.state, bench.server.loaded], ['proven', '2-0002']);
  });

  test('must get a later end by a renewal, and not by a change of the roots', async () => {
    const bench = await started();
    await pass(bench, lifeSeconds / 3 + 15);
    bench.roots = 'bb'.repeat(32);
    bench.delivery.changed(new Set());
    await pass(bench, 30);
    assert.deepEqual(bench.checked, [
      ['1-0001', undefined],
      ['2-0002', '1-0001'],
      ['3-0003', undefined],
    ]);
  });

  test('serves nothing that the offline check refuses', async () => {
    const bench = await started();
    bench.checkError = new PkiError('SVID_INVALID', 'the key does not fit');
    await pass(bench, lifeSeconds / 3 + 15);
    assert.deepEqual([bench.sets.link, bench.server.loaded], ['1-0001', '1-0001']);
    assert.match(bench.delivery.status().reason, /the key does not fit/);
    bench.checkError = undefined;
    await pass(bench, 300);
    assert.equal(bench.state, 'proven');
  });

  test('says that the disk is full, serves on, and writes the same certificate once there is room', async () => {
    const bench = await started();
    bench.sets.unwritable = new PkiError('TARGET_UNWRITABLE', 'no space left');
    await pass(bench, lifeSeconds / 3 + 300);
    assert.match(bench.delivery.status().reason, /TARGET_UNWRITABLE: no space left/);
    assert.deepEqual([bench.state, bench.server.loaded, bench.leases], ['proven', '1-0001', 2]);
    bench.sets.unwritable = undefined;
    await pass(bench, 300);
    assert.deepEqual([bench.state, bench.server.loaded, bench.leases], ['proven', '2-0002', 2]);
  });

  test('goes back when its driver hangs, after the time limit', async () => {
    const bench = await started();
    bench.server.answers.apply = forever;
    await pass(bench, lifeSeconds / 3 + 45);
    assert.deepEqual(bench.events.slice(-2), ['DRIVER_TIMEOUT', 'rolled-back']);
    assert.equal(bench.server.loaded, '1-0001');
    delete bench.server.answers.apply;
    await pass(bench, 300);
    assert.deepEqual([bench.state, bench.server.loaded], ['proven', '2-0002']);
  });

  test('says that its server may lack the OCSP answer, once the program that gets it has failed', async () => {
    const settings = { staple: ['/usr/local/bin/ocsp-staple'] };
    const bench = await started({ driver: { type: 'haproxy', settings, timeoutSeconds: 10 } });
    const { next } = bench.delivery.status();
    bench.delivery.stapled(fail('STAPLE_FAILED', 'no answer', { next: 'Run it.' }));
    const status = bench.delivery.status();
    assert.deepEqual(
      [status.state, status.reason, status.next],
      ['proven', 'STAPLE_FAILED: no answer', 'Run it.'],
    );
    assert.equal(bench.events.at(-1), 'STAPLE_FAILED');
    bench.delivery.stapled(ok(undefined));
    assert.deepEqual([bench.delivery.status().reason, bench.delivery.status().next], ['', next]);
  });

  test('begins no step while its journal can not be written', async () => {
    const bench = await started();
    bench.journalError = new PkiError('STATE_UNUSABLE', 'read-only');
    await pass(bench, lifeSeconds / 3 + 60);
    assert.deepEqual([bench.leases, bench.server.loaded], [1, '1-0001']);
    assert.match(bench.delivery.status().reason, /STATE_UNUSABLE/);
    bench.journalError = undefined;
    await pass(bench, 30);
    assert.deepEqual([bench.state, bench.leases], ['proven', 2]);
  });

  test('notices that its directory is gone, says so, and fills it again', async () => {
    const bench = await started();
    bench.sets.sets.length = 0;
    bench.sets.link = undefined;
    bench.sets.unwritable = new PkiError('TARGET_UNWRITABLE', 'no such directory');
    await pass(bench, 60);
    assert.equal(bench.state, 'failed');
    assert.match(bench.delivery.status().reason, /TARGET_UNWRITABLE/);
    assert.match(bench.delivery.status().next, /Tried again at \S+:\d\dZ\.$/);
    bench.sets.unwritable = undefined;
    await pass(bench, 300);
    assert.equal(bench.state, 'proven');
  });

  test('says that its disk can not be read, and takes up its sets once it can', async () => {
    const bench = await started();
    bench.sets.unreadable = new PkiError('TARGET_UNWRITABLE', 'input/output error');
    await bench.restart();
    await pass(bench, 30);
    assert.match(bench.delivery.status().reason, /TARGET_UNWRITABLE: input\/output error/);
    bench.sets.unreadable = undefined;
    await pass(bench, 30);
    assert.deepEqual(
      [bench.state, bench.delivery.status().reason, bench.sets.link, bench.leases],
      ['proven', '', '1-0001', 1],
    );
    bench.sets.unreadable = new PkiError('TARGET_UNWRITABLE', 'input/output error');
    await pass(bench, 30);
    assert.match(bench.delivery.status().reason, /input\/output error/);
    bench.sets.unreadable = undefined;
    await pass(bench, 30);
    assert.deepEqual([bench.state, bench.delivery.status().reason], ['proven', '']);
  });

  test('ends with its agent at once, also while its driver hangs', async () => {
    const bench = await started();
    bench.server.answers.apply = forever;
    await pass(bench, lifeSeconds / 3 + 5);
    assert.equal(bench.state, 'applying');
    await bench.delivery[Symbol.asyncDispose]();
    assert.equal(bench.journal?.step, 'apply', 'the next process goes on here');
  });

  test('waits for an entry, and is served soon after it comes', async () => {
    const bench = new DeliveryBench();
    bench.leaseError = new PkiError('NO_IDENTITY', 'no entry');
    await bench.delivery.start();
    await settle();
    assert.equal(bench.state, 'waiting');
    assert.match(bench.delivery.status().reason, /NO_IDENTITY/);
    await pass(bench, 3600);
    bench.leaseError = undefined;
    bench.delivery.changed(new Set(['NO_IDENTITY']));
    await settle();
    assert.equal(bench.state, 'proven');
  });
});

describe('a set that waits', () => {
  test('by hand stays so, is renewed, and says so when its predecessor is about to end', async () => {
    const bench = await started({ promote: 'by hand' });
    assert.deepEqual([bench.state, bench.sets.link], ['staged', undefined]);
    assert.ok((await bench.delivery.promote()).ok);
    assert.deepEqual([bench.state, bench.sets.link], ['proven', '1-0001']);
    await pass(bench, lifeSeconds / 3 + 15);
    assert.equal(bench.state, 'staged');
    assert.equal(bench.delivery.status().waitsFor, 'hand');
    await pass(bench, lifeSeconds / 2);
    const { reason, next } = bench.delivery.status();
    assert.match(reason, /^TARGET_ENDING: .* its successor waits for a hand/);
    assert.match(next, /meshca set promote web/);
    assert.equal(bench.sets.link, '1-0001');
    assert.ok((await bench.delivery.promote()).ok);
    assert.deepEqual([bench.state, bench.delivery.status().reason], ['proven', '']);
  });

  const group = { group: 'edge', canaryShare: 0.1, observeSeconds: 60 };

  test('for its turn goes on by the turn of just this set', async () => {
    const bench = await started({ rollout: group });
    assert.equal(bench.state, 'proven', 'where nothing is served, nothing waits');
    await pass(bench, lifeSeconds / 3 + 15);
    assert.deepEqual([bench.state, bench.delivery.status().waitsFor], ['staged', 'turn']);
    const other = bench.delivery.grantTurn('1-0001');
    assert.ok(!other.ok && other.error.code === 'CONFLICT');
    assert.ok(bench.delivery.grantTurn('2-0002').ok);
    await settle();
    assert.deepEqual([bench.state, bench.sets.link], ['proven', '2-0002']);
  });

  test('for its turn goes on by itself while the server is away, before the certificate ends', async () => {
    const bench = await started({ rollout: group });
    await pass(bench, lifeSeconds / 3 + 15);
    await pass(bench, lifeSeconds / 2);
    assert.deepEqual([bench.state, bench.sets.link], ['staged', '1-0001'], 'the server is there');
    assert.match(bench.delivery.status().reason, /^TARGET_ENDING/);
    bench.connected = false;
    await pass(bench, 15);
    assert.deepEqual([bench.state, bench.sets.link !== '1-0001'], ['proven', true]);
  });
});

describe('an operator', () => {
  test('stages a set at an automatic target, which serves it only when promoted', async () => {
    const bench = await started();
    const staged = await bench.delivery.stage();
    assert.ok(staged.ok && staged.value.state === 'staged');
    await pass(bench, 600);
    assert.equal(bench.sets.link, '1-0001');
    const promoted = await bench.delivery.promote();
    assert.ok(promoted.ok && promoted.value.state === 'proven');
    assert.equal(bench.server.loaded, '2-0002');
  });

  test('takes the set before, which stays until it is about to end', async () => {
    const bench = await started({ graceSeconds: 3600 });
    await pass(bench, lifeSeconds / 3 + 15);
    const back = await bench.delivery.rollback();
    assert.ok(back.ok && back.value.state === 'rolled-back');
    assert.equal(bench.server.loaded, '1-0001');
    await pass(bench, 900);
    assert.deepEqual([bench.server.loaded, bench.leases], ['1-0001', 2]);
    await pass(bench, 900);
    assert.deepEqual([bench.state, bench.server.loaded], ['proven', '3-0003']);
  });

  test('is refused while a delivery runs, without a staged set, and without a set before', async () => {
    const bench = await started();
    const refusals = [await bench.delivery.promote(), await bench.delivery.rollback()];
    let end: (() => void) | undefined;
    bench.server.answers.stage = () =>
      new Promise((resolve) => {
        end = () => resolve(fail('DRIVER_REFUSED', 'no') as never);
      });
    const staging = bench.delivery.stage();
    await settle();
    refusals.push(await bench.delivery.stage(), await bench.delivery.rollback());
    end?.();
    assert.ok(!(await staging).ok);
    assert.deepEqual(
      refusals.map((each) => (each.ok ? 'ok' : each.error.code)),
      ['CONFLICT', 'CONFLICT', 'CONFLICT', 'CONFLICT'],
    );
  });
});

describe('a process that starts anew', () => {
  test('takes up a step under way: the set is proven, whatever was done of it', async () => {
    for (const step of ['stage', 'apply', 'verify'] as const) {
      const bench = await started();
      bench.server.answers[step] = forever;
      await pass(bench, lifeSeconds / 3 + 5);
      delete bench.server.answers[step];
      const under = bench.delivery;
      await bench.restart();
      await settle();
      assert.notEqual(bench.delivery, under);
      assert.deepEqual([bench.state, bench.server.loaded], ['proven', '2-0002'], step);
    }
  });

  test('removes sets of which the journal knows nothing, and serves on', async () => {
    const bench = await started();
    bench.sets.sets.push({ ...(bench.sets.sets[0] as StoredSet), name: '7-0007', number: 7 });
    await bench.restart();
    await settle();
    assert.deepEqual([bench.state, bench.sets.link, bench.leases], ['proven', '1-0001', 1]);
    assert.deepEqual(
      bench.sets.sets.map(({ number }) => number),
      [1],
    );
  });

  test('without a journal takes what is served for what it is', async () => {
    const bench = await started();
    bench.journal = undefined;
    const entry = agentEntry('web', ['target:name:web']);
    bench.world = { identity: { entry, spiffeId: SpiffeId.of('spiffe://td.test/web') } };
    await bench.restart();
    await settle();
    assert.equal(bench.state, 'proven');
    await pass(bench, 60);
    assert.deepEqual([bench.state, bench.server.loaded], ['proven', '2-0002']);
  });

  test('takes nothing back because the server is down when the agent starts', async () => {
    const bench = await started();
    const { loaded } = bench.server;
    bench.server.loaded = undefined;
    await bench.restart();
    await pass(bench, 60);
    assert.equal(bench.sets.link, '1-0001');
    assert.equal(bench.line?.state, 'pending');
    bench.server.loaded = loaded;
    await pass(bench, 300);
    assert.equal(bench.line?.state, 'confirmed');
  });
});

describe('the line of a target among the consumers', () => {
  const digest = (bench: DeliveryBench) =>
    Buffer.from(bench.line?.authoritySetDigest ?? '').toString('hex');

  test('is proven where the trust of the server is shown', async () => {
    const bench = await started();
    assert.deepEqual(
      [bench.line?.state, bench.line?.capabilities, digest(bench)],
      ['confirmed', ['reports-roots'], bench.roots],
    );
  });

  test('is inferred where only the leaf is shown, once the certificate from before has ended', async () => {
    const bench = await started();
    bench.showsTrust = false;
    bench.roots = 'bb'.repeat(32);
    bench.delivery.changed(new Set());
    await pass(bench, 60);
    assert.deepEqual(
      [bench.line?.state, bench.line?.capabilities],
      ['pending', ['reports-roots', 'inferred']],
    );
    assert.match(bench.line?.reason ?? '', /do not tell whom the server trusts/);
    await pass(bench, lifeSeconds);
    assert.deepEqual([bench.line?.state, digest(bench)], ['confirmed', bench.roots]);
  });

  test('says of a target without listeners that nobody can tell, and ends with its certificate', async () => {
    const bench = await started({ listeners: [] });
    assert.equal(bench.state, 'applied');
    assert.equal(bench.line?.state, 'pending');
    assert.match(bench.line?.reason ?? '', /nothing shows what the server loaded/);
    await pass(bench, lifeSeconds + 30);
    assert.equal(bench.line, undefined);
  });

  test('is proven without listeners where the driver knows what was loaded', async () => {
    const bench = new DeliveryBench({ listeners: [] });
    bench.server.trust = 'loaded';
    await bench.delivery.start();
    await settle();
    assert.deepEqual([bench.state, bench.line?.state], ['applied', 'confirmed']);
  });

  test('says after a rollback what is truly served', async () => {
    const bench = await started();
    const before = bench.roots;
    bench.server.takes = false;
    bench.roots = 'bb'.repeat(32);
    bench.delivery.changed(new Set());
    await pass(bench, 45);
    assert.equal(bench.state, 'rolled-back');
    assert.deepEqual([bench.line?.state, digest(bench)], ['confirmed', before]);
  });

  test('counts what was given until its end, also when the agent ends', async () => {
    const bench = await started();
    await bench.delivery[Symbol.asyncDispose]();
    const [left] = [...bench.consumers.holdings()];
    assert.deepEqual(
      [left?.holder, left?.until, left?.state],
      ['target web', bench.sets.sets[0]?.notAfter, 'confirmed'],
    );
  });
});

describe('a set for names', () => {
  const forNames = { names: ['www.shop.test'], roots: ['AAAA'] };

  async function ofNames(): Promise<DeliveryBench> {
    const bench = new DeliveryBench();
    bench.forNames = forNames;
    await bench.delivery.start();
    await settle();
    return bench;
  }

  test('is shown with its names, and is reported to nobody as a holder of roots', async () => {
    const bench = await ofNames();
    assert.equal(bench.state, 'proven');
    assert.deepEqual(bench.delivery.status().names, ['www.shop.test']);
    assert.equal(bench.line, undefined);
    await bench.restart();
    await settle();
    assert.equal(bench.line, undefined);
    assert.deepEqual([...bench.consumers.holdings()], []);
    bench.server.takes = false;
    await pass(bench, lifeSeconds / 3 + 15);
    assert.equal(bench.state, 'rolled-back');
    assert.equal(bench.line, undefined);
  });

  test('is renewed by its life and taint, and not for roots and CRLs of the mesh', async () => {
    const bench = await ofNames();
    bench.roots = 'bb'.repeat(32);
    bench.world = { crlsDigest: 'cc' };
    bench.delivery.changed(new Set());
    await pass(bench, 60);
    assert.equal(bench.leases, 1);
    await pass(bench, lifeSeconds / 3);
    assert.equal(bench.leases, 2);
    bench.world = { tainted: new Map([['0002', 30]]) };
    bench.delivery.changed(new Set());
    await pass(bench, 45);
    assert.deepEqual([bench.state, bench.leases], ['proven', 3]);
  });

  test('ends what its server was known to hold of the mesh, once it is shown', async () => {
    const bench = await started();
    assert.equal(bench.line?.state, 'confirmed');
    bench.forNames = forNames;
    await pass(bench, lifeSeconds / 3 + 15);
    assert.deepEqual([bench.state, bench.leases], ['proven', 2]);
    assert.equal(bench.line, undefined);
    assert.deepEqual([...bench.consumers.holdings()], []);
  });
});
