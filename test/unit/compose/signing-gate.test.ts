import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { SigningGate, type GateJudge } from '../../../src/compose/signing-gate.ts';
import type { SignerRouter, SignItem, TokenAdmin } from '../../../src/hsm/index.ts';
import type { Issuer } from '../../../src/issuance/index.ts';
import type { LeaseStore } from '../../../src/store/ports/index.ts';

type Judgement = { -readonly [K in 'stale' | 'damage']: GateJudge[K] };

/** A gate before signers and tokens that note who came through. */
function world() {
  const came: string[] = [];
  const gate = new SigningGate(async (role) => {
    came.push(`token ${role}`);
    const note = (what: string) => async () => void came.push(what);
    return {
      sign: note('token sign'),
      generateKey: note('token generate'),
      destroyKey: note('token destroy'),
      findKey: note('token find'),
      generateMacKey: note('token generate mac'),
      findMacKey: note('token find mac'),
      close: async () => {},
    } as unknown as TokenAdmin;
  });
  gate.enclose({
    sign: async (items: readonly SignItem[], signal?: AbortSignal) => {
      came.push(signal === undefined ? 'sign' : 'sign with a signal');
      return items.map(() => ({ ok: true, signature: Buffer.of(1) }));
    },
    mac: async () => (came.push('mac'), Buffer.of(1)),
  } as unknown as SignerRouter);
  const judgement: Judgement = { stale: undefined, damage: undefined };
  const judge = Object.assign(judgement, { onStale: () => () => {} }) as GateJudge & Judgement;
  return { gate, came, judge };
}

const item: SignItem = { ckaId: 'aa', bytes: Buffer.of(1), format: 'x509' };
const stale = {
  size: 10,
  newer: { size: 15 },
  foundBy: 'agent n1',
} as unknown as GateJudge['stale'];
const codesOf = (outcomes: readonly { readonly ok: boolean; readonly code?: string }[]) =>
  outcomes.map(({ ok, code }) => (ok ? 'signed' : code));

describe('the signing gate', () => {
  test('is closed until the log has judged, with the code STARTING_UP, but for the first authorities', async () => {
    const { gate, came, judge } = world();
    assert.equal(gate.refusal()?.code, 'STARTING_UP');
    assert.deepEqual(codesOf(await gate.signers.sign([item, item])), [
      'STARTING_UP',
      'STARTING_UP',
    ]);
    await assert.rejects(gate.openToken('root'), { code: 'STARTING_UP' });
    assert.deepEqual(came, []);
    await gate.beforeJudgement(async () => void (await gate.openToken('root')));
    assert.deepEqual(came, ['token root']);
    assert.equal(gate.isOpen, false);
    await assert.rejects(
      gate.beforeJudgement(() => Promise.reject(new PkiError('HSM_FAILED', 'no key'))),
    );
    assert.equal(gate.isOpen, false, 'after a failure as well');
    gate.judgedBy(judge);
    assert.equal(gate.isOpen, true);
    await assert.rejects(
      gate.beforeJudgement(async () => {}),
      { code: 'INTERNAL' },
    );
  });

  test('closes while the log calls the database stale, and says what an operator can do', async () => {
    const { gate, came, judge } = world();
    gate.judgedBy(judge);
    const token = await gate.openToken('root');
    judge.stale = stale;
    assert.equal(gate.refusal()?.code, 'DATABASE_STALE');
    assert.match(gate.reason() ?? '', /10 records .* agent n1 .* 15: .*meshca restore show/);
    assert.deepEqual(codesOf(await gate.signers.sign([item])), ['DATABASE_STALE']);
    await assert.rejects(token.sign({} as never, Buffer.of(1)), { code: 'DATABASE_STALE' });
    await assert.rejects(token.generateKey({} as never), { code: 'DATABASE_STALE' });
    await assert.rejects(token.destroyKey('aa'), { code: 'DATABASE_STALE' });
    await token.findKey('aa');
    await assert.rejects(token.generateMacKey({} as never), { code: 'DATABASE_STALE' });
    await assert.rejects(gate.signers.mac('aa', Buffer.of(1)), { code: 'DATABASE_STALE' });
    await token.findMacKey('aa');
    assert.deepEqual(came, ['token root', 'token find', 'token find mac']);
    judge.stale = undefined;
    assert.deepEqual(await gate.signers.mac('aa', Buffer.of(1)), Buffer.of(1));
    assert.deepEqual(codesOf(await gate.signers.sign([item])), ['signed']);
    assert.equal(gate.reason(), undefined);
  });

  test('names damage before staleness, with the code of the damage', () => {
    const { gate, judge } = world();
    gate.judgedBy(judge);
    judge.stale = stale;
    judge.damage = new PkiError('AUDIT_INVALID', 'record 3 is not as it was sealed');
    assert.equal(gate.refusal()?.code, 'AUDIT_INVALID');
    assert.equal(
      gate.reason(),
      'AUDIT_INVALID: record 3 is not as it was sealed: nothing is signed',
    );
  });

  test('lets the log sign while it is closed, until the server stops', async () => {
    const { gate } = world();
    assert.deepEqual(codesOf(await gate.logSigners.sign([item])), ['signed']);
    gate.shut();
    assert.deepEqual(codesOf(await gate.logSigners.sign([item])), ['SHUTTING_DOWN']);
    assert.deepEqual(codesOf(await gate.signers.sign([item])), ['SHUTTING_DOWN']);
  });

  test('refuses to issue before an intent is written, and gives no lease', async () => {
    const { gate, judge, came } = world();
    const issuer = gate.issuer({
      issue: async () => (came.push('issue'), []),
      issueJwt: async () => (came.push('issueJwt'), {}),
    } as unknown as Issuer);
    const lease = { name: 'rotation', holder: 'a', fence: 1, expiresAtMs: 0 };
    const leases = gate.leases({
      acquire: async () => lease,
      renew: async () => lease,
      release: async () => void came.push('release'),
    } as LeaseStore);
    await assert.rejects(issuer.issue([]), { code: 'STARTING_UP' });
    await assert.rejects(issuer.issueJwt({} as never), { code: 'STARTING_UP' });
    assert.equal(await leases.acquire('rotation', 'a', 0, 1), undefined);
    await assert.rejects(leases.renew(lease, 0, 1), { code: 'LEASE_LOST' });
    await leases.release(lease);
    assert.deepEqual(came, ['release'], 'a lease can be given back');
    gate.judgedBy(judge);
    await issuer.issue([]);
    assert.equal(await leases.acquire('rotation', 'a', 0, 1), lease);
  });

  test('passes on who waits for a signature', async () => {
    const { gate, judge, came } = world();
    gate.judgedBy(judge);
    await gate.signers.sign([item], new AbortController().signal);
    assert.deepEqual(came, ['sign with a signal']);
  });

  test('does what waited for it in the order of the stages, at once where it is open', async () => {
    const { gate, judge } = world();
    const done: string[] = [];
    gate.judgedBy(judge);
    judge.stale = stale;
    gate.onReopen(() => void done.push('authorities'));
    await gate.whenOpen(async () => void done.push('rotation'));
    assert.equal(done.length, 0);
    judge.stale = undefined;
    await gate.reopened();
    assert.deepEqual(done, ['authorities', 'rotation']);
    await gate.whenOpen(() => void done.push('late'));
    assert.deepEqual(done, ['authorities', 'rotation', 'late']);
  });

  test('has its signers and its judge once', () => {
    const { gate, judge } = world();
    gate.judgedBy(judge);
    assert.throws(() => gate.judgedBy(judge), { code: 'INTERNAL' });
    assert.throws(() => gate.enclose({} as SignerRouter), { code: 'INTERNAL' });
    const empty = new SigningGate(() => Promise.reject(new Error('none')));
    assert.throws(() => empty.signers.state(), { code: 'INTERNAL' });
    assert.throws(() => empty.onChange(() => {}), { code: 'INTERNAL' });
  });
});
