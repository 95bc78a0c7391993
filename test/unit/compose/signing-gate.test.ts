import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { LateEdges } from '../../../src/compose/late-edges.ts';
import { SigningGate, type GateJudge } from '../../../src/compose/signing-gate.ts';
import { SignerRouter } from '../../../src/hsm/index.ts';
import type { Issuer } from '../../../src/issuance/index.ts';
import { FakeSigners, fakeToken } from '../../support/fake-signers.ts';

/** A judge whose mind the test changes. */
class FakeJudge implements GateJudge {
  stale: GateJudge['stale'];
  damage: GateJudge['damage'];
  readonly #listeners = new Set<() => void>();

  onStale(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  say(verdict: Partial<Pick<GateJudge, 'stale' | 'damage'>>): void {
    this.stale = verdict.stale;
    this.damage = verdict.damage;
    for (const listener of this.#listeners) listener();
  }
}

const staleness: GateJudge['stale'] = {
  newer: {
    epoch: 0,
    size: 20,
    root: Buffer.alloc(32),
    origin: 'test',
    note: { text: '', signatures: [] },
  },
  size: 10,
  sequence: 10,
  foundBy: 'a file',
};

const item = { ckaId: 'aa', bytes: Buffer.from('bytes'), format: 'x509' as const };

function createGate() {
  const signers = new FakeSigners();
  const token = fakeToken();
  const gate = new SigningGate(() => Promise.resolve(token));
  gate.enclose(new SignerRouter(new Map([['issuing', signers]])));
  const judge = new FakeJudge();
  return { gate, judge, signers, token };
}

async function openGate() {
  const parts = createGate();
  parts.gate.judgedBy(parts.judge);
  await parts.gate.signers.useKey({
    ckaId: item.ckaId,
    keyType: 'ec-p256',
    spkiDer: Buffer.alloc(0),
  });
  return parts;
}

describe('the signing gate', () => {
  test('is closed until the log has judged the database', async () => {
    const { gate, judge } = createGate();
    assert.equal(gate.refusal()?.code, 'STARTING_UP');
    await assert.rejects(gate.openToken('root'), { code: 'STARTING_UP' });
    gate.judgedBy(judge);
    assert.equal(gate.refusal(), undefined);
    await (await gate.openToken('root')).close();
  });

  test('opens before the judgement for one work, and closes behind it when the work fails', async () => {
    const { gate } = createGate();
    const work = gate.beforeJudgement(async () => {
      await gate.openToken('root');
      throw new PkiError('HSM_FAILED', 'test');
    });
    await assert.rejects(work, { code: 'HSM_FAILED' });
    assert.equal(gate.isOpen, false);
  });

  test('lets nothing of a stale database be signed but what the log itself signs', async () => {
    const { gate, judge, signers, token } = await openGate();
    const opened = await gate.openToken('root');
    judge.say({ stale: staleness });
    const [outcome] = await gate.signers.sign([item]);
    assert.equal(!outcome?.ok && outcome?.code, 'DATABASE_STALE');
    await assert.rejects(gate.openToken('root'), { code: 'DATABASE_STALE' });
    const key = { ckaId: 'aa', keyType: 'ec-p256', spkiDer: Buffer.alloc(0) } as const;
    await assert.rejects(opened.sign(key, Buffer.alloc(1)), { code: 'DATABASE_STALE' });
    assert.match(gate.reason() ?? '', /10 records .* a file has a checkpoint over 20/);
    assert.deepEqual([signers.signed, token.signed], [0, 0]);
    const [ofLog] = await gate.logSigners.sign([item]);
    assert.equal(ofLog?.ok, true);
  });

  test('refuses with the code of the damage when a record of the log is not the signed one', async () => {
    const { gate, judge, signers } = await openGate();
    judge.say({ damage: new PkiError('AUDIT_INVALID', 'record 7 was changed') });
    const [outcome] = await gate.signers.sign([item]);
    assert.equal(!outcome?.ok && outcome?.code, 'AUDIT_INVALID');
    assert.match(gate.reason() ?? '', /record 7 was changed/);
    assert.equal(signers.signed, 0);
  });

  test('refuses an issuance before the issuer sees it', async () => {
    const { gate, judge } = await openGate();
    let calls = 0;
    const count = (): never => {
      calls += 1;
      throw new Error('called');
    };
    const issuer = gate.issuer({ issue: count, issueJwt: count } satisfies Issuer);
    judge.say({ stale: staleness });
    await assert.rejects(issuer.issue([]), { code: 'DATABASE_STALE' });
    await assert.rejects(issuer.issueJwt({} as never), { code: 'DATABASE_STALE' });
    assert.equal(calls, 0);
  });

  test('gives no lease and renews none while it is closed', async () => {
    const { gate, judge } = await openGate();
    const lease = { name: 'test', holder: 'test', fence: 1, expiresAtMs: 1 };
    const leases = gate.leases({
      acquire: () => Promise.resolve(lease),
      renew: () => Promise.resolve(lease),
      release: () => Promise.resolve(),
    });
    assert.equal(await leases.acquire('test', 'test', 0, 1), lease);
    judge.say({ stale: staleness });
    assert.equal(await leases.acquire('test', 'test', 0, 1), undefined);
    await assert.rejects(leases.renew(lease, 0, 1), { code: 'LEASE_LOST' });
  });

  test('does the work that waits for it in order, each time that it opens again', async () => {
    const { gate, judge } = await openGate();
    const done: string[] = [];
    gate.onReopen(() => void done.push('first'));
    await gate.whenOpen(() => void done.push('second'));
    assert.deepEqual(done, ['second']);
    judge.say({ stale: staleness });
    await gate.whenOpen(() => void done.push('third'));
    assert.deepEqual(done, ['second']);
    judge.say({});
    await gate.reopened();
    assert.deepEqual(done, ['second', 'first', 'second', 'third']);
  });

  test('tells its listeners when the judge changes its mind, until they unsubscribe', async () => {
    const { gate, judge } = await openGate();
    const seen: boolean[] = [];
    const stop = gate.onChange(() => seen.push(gate.isOpen));
    judge.say({ stale: staleness });
    judge.say({});
    stop();
    judge.say({ stale: staleness });
    assert.deepEqual(seen, [false, true]);
  });

  test('takes one judge and one set of signers', async () => {
    const { gate, judge, signers } = await openGate();
    assert.throws(() => gate.judgedBy(judge), { code: 'INTERNAL' });
    assert.throws(() => gate.enclose(new SignerRouter(new Map([['issuing', signers]]))), {
      code: 'INTERNAL',
    });
    await assert.rejects(
      gate.beforeJudgement(async () => {}),
      { code: 'INTERNAL' },
    );
  });
});

describe('late edges', () => {
  test('throw while nobody has filled them, instead of answering wrongly', () => {
    assert.throws(() => new LateEdges().edges, { code: 'INTERNAL' });
  });

  test('are filled once', () => {
    const late = new LateEdges();
    late.fill({ isConnected: (agentId) => agentId === 'here' });
    assert.equal(late.edges.isConnected('here'), true);
    assert.throws(() => late.fill({ isConnected: () => false }), { code: 'INTERNAL' });
  });
});
