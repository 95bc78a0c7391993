import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { silentLogger, systemRandom } from '../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../src/common/spiffe/index.ts';
import { StandbyLog, type StandbyLogDependencies } from '../../../src/compose/standby-log.ts';
import type { Authority, AuthorityState } from '../../../src/domain/index.ts';
import { authority } from '../../compliance/store/fixtures.ts';
import { FakeClock, settle } from '../../support/agent.ts';

interface World {
  readonly log: StandbyLog;
  readonly clock: FakeClock;
  /** What is true of the tokens and the gate. */
  readonly facts: { open: boolean; lost: boolean; back: boolean };
  /** Keys that took over, in their order. */
  readonly adopted: string[];
  /** What `adopt` throws, by the ID of the authority. */
  readonly failing: Map<string, PkiError>;
  states(): Readonly<Record<string, AuthorityState>>;
}

const keyIn = (token: 'issuing' | 'standby', id: string, state: AuthorityState): Authority =>
  authority({ id, kind: 'log', token, state });

function world(keys: readonly Authority[], signerId = ''): World {
  let all = [...keys];
  const clock = new FakeClock();
  const facts = { open: true, lost: false, back: false };
  const [adopted, failing] = [[] as string[], new Map<string, PkiError>()];
  let signer = all.find(({ id, state }) =>
    signerId === '' ? state === 'active' : id === signerId,
  ) as Authority;
  const dependencies = {
    store: {
      authorities: {
        list: () => Promise.resolve(all),
        transition: ({ id }: { readonly id: string }, state: AuthorityState) => {
          all = all.map((each) => (each.id === id ? { ...each, state } : each));
          return Promise.resolve(all.find((each) => each.id === id));
        },
      },
    },
    auditLog: {
      get signer() {
        return signer;
      },
      catchUp: () => Promise.resolve(),
      adopt: (next: Authority) => {
        const failure = failing.get(next.id);
        if (failure !== undefined) return Promise.reject(failure);
        adopted.push(next.id);
        signer = next;
        return Promise.resolve();
      },
    },
    gate: {
      get isOpen() {
        return facts.open;
      },
      openToken: () => Promise.reject(new PkiError('HSM_UNAVAILABLE', 'the token is away')),
    },
    tokenLost: () => facts.lost,
    tokenBack: () => facts.back,
    standbyConfigured: true,
    trustDomain: TrustDomain.of('mesh.test'),
    clock,
    random: systemRandom,
    logger: silentLogger,
  } as unknown as StandbyLogDependencies;
  return {
    log: new StandbyLog(dependencies),
    clock,
    facts,
    adopted,
    failing,
    states: () => Object.fromEntries(all.map(({ id, state }) => [id, state])),
  };
}

const pair = (): readonly Authority[] => [
  keyIn('issuing', 'first', 'active'),
  keyIn('standby', 'second', 'published'),
];

describe('the key of the audit log in the standby token', () => {
  test('stands by while the issuing token answers', async () => {
    const { log, adopted, states } = world(pair());
    await log.look();
    assert.deepEqual([adopted, states()], [[], { first: 'active', second: 'published' }]);
  });

  test('takes over when the issuing token is lost, and the states follow', async () => {
    const { log, facts, adopted, states } = world(pair());
    facts.lost = true;
    await log.look();
    assert.deepEqual([adopted, states()], [['second'], { first: 'old', second: 'active' }]);
  });

  test('does nothing while nothing may be signed', async () => {
    const { log, facts, adopted } = world(pair());
    Object.assign(facts, { open: false, lost: true });
    await log.look();
    assert.deepEqual(adopted, []);
  });

  test('stands by again when the issuing token is back, under the key that signed before', async () => {
    const { log, facts, adopted, states } = world([
      keyIn('issuing', 'first', 'old'),
      keyIn('standby', 'second', 'active'),
    ]);
    facts.back = true;
    await log.look();
    await settle();
    assert.deepEqual([adopted, states()], [['first'], { first: 'active', second: 'old' }]);
  });

  test('is left to a published key of the issuing token where the earlier one is gone', async () => {
    const { log, facts, failing, adopted } = world([
      keyIn('issuing', 'first', 'old'),
      keyIn('standby', 'second', 'active'),
      keyIn('issuing', 'third', 'published'),
    ]);
    failing.set('first', new PkiError('HSM_KEY_NOT_FOUND', 'gone'));
    facts.back = true;
    await log.look();
    await settle();
    assert.deepEqual(adopted, ['third']);
  });

  test('that can not take over is tried again after a second, until it does or all ends', async () => {
    const { log, clock, facts, failing, adopted } = world(pair());
    facts.lost = true;
    failing.set('second', new PkiError('HSM_UNAVAILABLE', 'the token is away'));
    await log.look();
    failing.clear();
    clock.advance(999);
    await settle();
    assert.deepEqual(adopted, []);
    clock.advance(1);
    await settle();
    assert.deepEqual(adopted, ['second']);
    const ended = world(pair());
    ended.facts.lost = true;
    ended.failing.set('second', new PkiError('HSM_UNAVAILABLE', 'the token is away'));
    await ended.log.look();
    await ended.log.close();
    ended.failing.clear();
    ended.clock.advance(60_000);
    await ended.log.look();
    assert.deepEqual(ended.adopted, []);
  });

  test('whose take-over was cut off by a crash gets the states that follow from it', async () => {
    const { log, adopted, states } = world(pair(), 'second');
    await log.look();
    assert.deepEqual([adopted, states()], [[], { first: 'old', second: 'active' }]);
  });

  test('is looked at once more where somebody asks while it is looked at', async () => {
    const { log, facts, adopted, states } = world(pair());
    const first = log.look();
    facts.lost = true;
    await Promise.all([first, log.look()]);
    await settle();
    assert.deepEqual([adopted, states()], [['second'], { first: 'old', second: 'active' }]);
  });
});
