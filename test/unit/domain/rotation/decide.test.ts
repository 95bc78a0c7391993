import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  allShares,
  confirmation,
  decide,
  isConfirmed,
  scheduleProblem,
  type AgentFacts,
  type Authority,
  type ConsumerRecord,
  type DecisionInput,
  type RotationWorld,
} from '../../../../src/domain/index.ts';
import {
  now,
  policy,
  authority,
  operation,
  complete,
  lagging,
  input,
  actionTypes,
  noteCodes,
  root,
  published,
} from './decide-support.ts';

test('a published authority signs when all have confirmed, and not while one has not', () => {
  assert.deepEqual(
    actionTypes(
      input(published, { operations: [operation()], confirmations: new Map([['new', complete]]) }),
    ),
    ['activate'],
  );
  assert.deepEqual(
    actionTypes(
      input(published, { operations: [operation()], confirmations: new Map([['new', lagging]]) }),
    ),
    [],
  );
  assert.deepEqual(actionTypes(input(published, { operations: [operation()] })), []);
  assert.deepEqual(
    actionTypes(
      input(published, {
        operations: [operation({ shares: { ...allShares, proven: 0.5 } })],
        confirmations: new Map([['new', lagging]]),
      }),
    ),
    ['activate'],
  );
  assert.deepEqual(
    actionTypes(
      input(published, {
        operations: [operation({ force: { by: 'uid:0', reason: 'x' } })],
        confirmations: new Map([['new', lagging]]),
      }),
    ),
    ['activate'],
  );
  assert.deepEqual(
    actionTypes(
      input(published, {
        operations: [{ ...operation(), state: 'paused' }],
        confirmations: new Map([['new', complete]]),
      }),
    ),
    [],
  );
});

test('near the deadline it alerts, and past it alerts or goes on without laggards, as configured', () => {
  const notAfter = now + policy.longestLeafSeconds + policy.marginSeconds;
  const late = [
    root,
    authority('old', 'issuing', 'active', { notAfter }),
    published[2] as Authority,
  ];
  const given = input(late, {
    operations: [operation()],
    confirmations: new Map([['new', lagging]]),
  });
  assert.deepEqual(actionTypes(given), []);
  assert.ok(noteCodes(given).includes('DEADLINE_PASSED'));
  const proceeding = decide({ ...given, policy: { ...policy, onDeadline: 'proceed' } }).actions[0];
  assert.ok(proceeding?.type === 'activate' && proceeding.without.kind === 'deadline');
  assert.deepEqual(
    decide({ ...given, policy: { ...policy, onDeadline: 'proceed' }, clock: 'jumped' }).actions,
    [],
  );
  const near = input(
    [
      root,
      authority('old', 'issuing', 'active', { notAfter: notAfter + 90 }),
      published[2] as Authority,
    ],
    { operations: [operation()], confirmations: new Map([['new', lagging]]) },
  );
  assert.ok(noteCodes(near).includes('DEADLINE_NEAR'));
  assert.ok(
    !noteCodes(
      input(
        [
          root,
          authority('old', 'issuing', 'active', { notAfter: notAfter + 900 }),
          published[2] as Authority,
        ],
        { operations: [operation()], confirmations: new Map([['new', lagging]]) },
      ),
    ).includes('DEADLINE_NEAR'),
  );
});

test('a canary is widened in time but not while handshakes fail, and a lack of reports is noted', () => {
  const canary = {
    steps: [{ share: 0.1 }, { share: 0.5 }],
    holdSeconds: 100,
    maximumFailureRate: 0.01,
  };
  const partly = (scope: Authority['scope'], activatedAt: number) =>
    input(
      [
        root,
        authority('old', 'issuing', 'active'),
        authority('new', 'issuing', 'active', { scope, activatedAt }),
      ],
      { operations: [operation({ canary })] },
    );
  const first = decide(
    input(published, {
      operations: [operation({ canary })],
      confirmations: new Map([['new', complete]]),
    }),
  ).actions[0];
  assert.ok(first?.type === 'activate' && first.scope.share === 0.1);
  assert.deepEqual(actionTypes(partly({ share: 0.1 }, now - 50)), []);
  assert.ok(noteCodes(partly({ share: 0.1 }, now - 50)).includes('CANARY_UNREPORTED'));
  const widened = decide(partly({ share: 0.1 }, now - 100)).actions[0];
  assert.ok(widened?.type === 'widen' && widened.scope.share === 0.5);
  const whole = decide(partly({ share: 0.5 }, now - 200)).actions[0];
  assert.ok(whole?.type === 'widen' && Object.keys(whole.scope).length === 0);
  const failing = {
    ...partly({ share: 0.1 }, now - 500),
    handshakes: new Map([['new', [{ agentId: 'n1', succeeded: 90, failed: 10 }]]]),
  };
  assert.deepEqual(actionTypes(failing), []);
  assert.ok(noteCodes(failing).includes('CANARY_FAILING'));
  const setAside = { ...canary, disregarded: ['n1'] };
  const disregarding = { ...failing, operations: [operation({ canary: setAside })] };
  assert.deepEqual(actionTypes(disregarding), ['widen'], 'an operator has set its reports aside');
  assert.ok(noteCodes(disregarding).includes('CANARY_UNREPORTED'));
  assert.deepEqual(actionTypes(partly({}, now - 500)), ['supersede']);
  const asked = (failed: number, othersFailed: number): DecisionInput => ({
    ...partly({ share: 0.1 }, now - 500),
    renewals: new Map([
      ['new', { signed: 100 - failed, failed, othersSigned: 900 - othersFailed, othersFailed }],
    ]),
  });
  assert.deepEqual(actionTypes(asked(5, 9)), []);
  assert.ok(noteCodes(asked(5, 9)).includes('CANARY_RENEWALS'));
  // what fails everywhere is no fault of the new one
  assert.deepEqual(actionTypes(asked(5, 45)), ['widen']);
});

test('one authority of each kind is ready in the standby token, and signs by itself only by policy', () => {
  const standby = { ...policy, standby: ['issuing' as const], prepareAtLifeFraction: undefined };
  const signing = authority('old', 'issuing', 'active', {
    parentId: 'r1',
    notAfter: now + 10_000_000,
  });
  const ready = (state: Authority['state'], more: Partial<Authority> = {}) =>
    authority('by', 'issuing', state, {
      token: 'standby',
      parentId: 'r1',
      notAfter: now + 10_000_000,
      ...more,
    });
  const roots = [authority('r1', 'root', 'active', { notAfter: now + 100_000_000 })];
  const at = (
    authorities: readonly Authority[],
    more: Partial<DecisionInput> = {},
  ): DecisionInput => input([...roots, signing, ...authorities], { policy: standby, ...more });
  assert.deepEqual(actionTypes(at([])), ['standby']);
  assert.deepEqual(actionTypes(at([ready('preparing')])), ['standby']);
  assert.deepEqual(actionTypes(at([ready('prepared')])), ['publish']);
  const confirmations = new Map([['by', complete]]);
  assert.deepEqual(actionTypes(at([ready('published')], { confirmations })), []);
  assert.ok(noteCodes(at([ready('published')], { confirmations })).includes('STANDBY_READY'));
  // under a root that signs no more it is made anew, and given up when everybody holds the next
  assert.deepEqual(actionTypes(at([ready('published', { parentId: 'r0' })])), ['standby']);
  assert.deepEqual(
    actionTypes(
      at([ready('published', { id: 'before', parentId: 'r0' }), ready('published')], {
        confirmations,
      }),
    ),
    ['drop'],
  );
  const lost = { confirmations, issuingTokenLostAt: now - 40 };
  assert.deepEqual(actionTypes(at([ready('published')], lost)), []);
  assert.ok(noteCodes(at([ready('published')], lost)).includes('TOKEN_LOST'));
  const automatic = { ...lost, policy: { ...standby, standbyAfterSeconds: 30 } };
  const [opened] = decide(at([ready('published')], automatic)).actions;
  assert.ok(
    opened?.type === 'open' && opened.successorId === 'by' && opened.targets.includes('old'),
  );
  const [withRegion] = decide(
    at(
      [
        authority('there', 'issuing', 'active', {
          scope: { region: 'eu' },
          parentId: 'r1',
          notAfter: now + 10_000_000,
        }),
        ready('published'),
      ],
      automatic,
    ),
  ).actions;
  assert.deepEqual(withRegion?.type === 'open' ? withRegion.targets : [], ['old', 'there']);
  assert.deepEqual(
    actionTypes(at([ready('published')], { ...automatic, issuingTokenLostAt: now - 10 })),
    [],
  );
  assert.deepEqual(
    actionTypes(at([ready('published')], { ...automatic, confirmations: new Map() })),
    [],
  );
  assert.deepEqual(actionTypes(at([ready('published')], { ...automatic, clock: 'jumped' })), []);
});

test('the schedule prepares in time, replaces intermediates of an inactive root, and nothing twice', () => {
  const due = authority('old', 'issuing', 'active', {
    notBefore: now - 70_000,
    notAfter: now + 30_000,
  });
  assert.deepEqual(actionTypes(input([root, due])), ['open']);
  assert.deepEqual(
    actionTypes(input([root, due], { policy: { ...policy, prepareAtLifeFraction: undefined } })),
    [],
  );
  assert.deepEqual(actionTypes(input([root, due], { clock: 'jumped' })), []);
  assert.deepEqual(actionTypes(input([root, due], { operations: [operation()] })), ['prepare']);
  const orphan = [
    authority('r1', 'root', 'old'),
    authority('r2', 'root', 'active', { notAfter: now + 10_000_000 }),
    authority('old', 'issuing', 'active'),
  ];
  const opened = decide(input(orphan)).actions.find(({ type }) => type === 'open');
  assert.ok(opened?.type === 'open' && opened.trigger === 'root' && opened.parentId === 'r2');
});

test('lives that leave no room for a rotation are told with what is missing', () => {
  assert.equal(scheduleProblem('issuing', 365 * 86_400, policy), undefined);
  const problem = scheduleProblem('issuing', 6_000, policy);
  assert.ok(
    problem !== undefined &&
      problem.missingSeconds > 0 &&
      scheduleProblem('issuing', problem.neededLifeSeconds + 1, policy) === undefined,
  );
});

test('confirmation counts by held sets; refusals and sleepers are named until their leaves expire', () => {
  const agent = (id: string, over: Partial<AgentFacts> = {}): AgentFacts => ({
    id,
    kind: 'agent',
    active: true,
    connected: true,
    lastSeenAt: now,
    lastLeafNotAfter: now + 100,
    ...over,
  });
  const consumer = (
    agentId: string,
    id: string,
    over: Partial<ConsumerRecord> = {},
  ): ConsumerRecord => ({
    agentId,
    id,
    kind: id === 'self' ? 'agent' : 'proxy',
    spiffeId: '',
    authoritySetDigest: 'both',
    jwtSetDigest: '',
    issuerSetDigest: '',
    capabilities: [],
    state: 'confirmed',
    reason: '',
    since: 0,
    heardAt: now,
    description: '',
    ...over,
  });
  const world = (
    agents: readonly AgentFacts[],
    consumers: readonly ConsumerRecord[],
  ): RotationWorld => ({
    agents,
    consumers,
    unheld: new Map(),
    sets: {
      root: new Map([
        ['both', new Set(['a', 'b'])],
        ['one', new Set(['a'])],
      ]),
      jwt: new Map(),
      issuing: new Map(),
    },
  });
  const next = authority('b', 'root', 'published');
  const count = (agents: readonly AgentFacts[], consumers: readonly ConsumerRecord[]) =>
    confirmation(next, undefined, { world: world(agents, consumers), policy, now }).proven;
  assert.equal(count([agent('x')], [consumer('x', 'self')]).confirmed, 1);
  assert.equal(
    count([agent('x')], [consumer('x', 'self', { authoritySetDigest: 'one' })]).laggards[0]?.state,
    'behind',
  );
  assert.equal(
    count([agent('x')], [consumer('x', 'self', { authoritySetDigest: 'unheard of' })]).laggards
      .length,
    1,
  );
  assert.deepEqual(
    count(
      [agent('x')],
      [consumer('x', 'self'), consumer('x', 'p', { state: 'refused', reason: 'no' })],
    ).laggards.map(({ state, reason }) => [state, reason]),
    [['refused', 'no']],
  );
  // what it had read before is what it holds; a first offer that was not read says nothing
  const holds = (authoritySetDigest: string) =>
    count(
      [agent('x')],
      [consumer('x', 'self'), consumer('x', 'p', { state: 'pending', authoritySetDigest })],
    ).laggards[0]?.holds;
  assert.deepEqual([holds('one'), holds('both'), holds('unheard of')], [['a'], [], []]);
  // one that a new session does not know counts as it was, and no longer than its certificate
  const lost = (lostUntil: number) =>
    count(
      [agent('x')],
      [consumer('x', 'self'), consumer('x', 'p', { authoritySetDigest: 'one', lostUntil })],
    ).laggards.map(({ until }) => until);
  assert.deepEqual([lost(now + 50), lost(now - 10_000)], [[now + 50], []]);
  // one that left counts with its own certificate, not with the last leaf of its agent
  const departed = (departedUntil: number) =>
    count(
      [agent('x')],
      [consumer('x', 'self'), consumer('x', 'p', { authoritySetDigest: 'one', departedUntil })],
    ).laggards.map(({ state, until }) => [state, until]);
  assert.deepEqual([departed(now + 50), departed(now - 10_000)], [[['departed', now + 50]], []]);
  assert.equal(count([agent('x')], []).laggards[0]?.state, 'silent');
  // what stands in the database alone was told to nobody who is here
  const { heardAt: _, ...row } = consumer('x', 'self');
  assert.deepEqual(
    [count([agent('x')], [row]).confirmed, count([agent('x')], [row]).laggards[0]?.state],
    [0, 'silent'],
  );
  const altered = confirmation(next, undefined, {
    world: { ...world([agent('x')], [consumer('x', 'self')]), alteredAgents: 1 },
    policy,
    now: now + 10_000,
  });
  assert.deepEqual(
    [
      altered.proven.confirmed,
      isConfirmed(altered, allShares, now + 10_000),
      isConfirmed({ ...altered, alteredAgents: 0 }, allShares, now + 10_000),
    ],
    [1, false, true],
  );
  assert.equal(count([agent('x', { connected: false })], []).laggards[0]?.state, 'absent');
  // a control plane reports for itself and needs the roots, whatever it says of JWT keys
  const plane = agent('c', { kind: 'control-plane' });
  const self = (over: Partial<ConsumerRecord> = {}) =>
    consumer('c', 'pod', { kind: 'control-plane', ...over });
  assert.equal(count([plane], []).laggards[0]?.kind, 'control-plane');
  assert.equal(count([plane], [self()]).confirmed, 1);
  assert.equal(count([plane], [consumer('c', 'self')]).laggards[0]?.state, 'silent');
  assert.equal(
    count([plane], [self({ authoritySetDigest: '', jwtSetDigest: 'keys' })]).laggards.length,
    1,
  );
  assert.equal(
    count(
      [agent('x', { connected: false, lastLeafNotAfter: now - 1_000 })],
      [consumer('x', 'self', { authoritySetDigest: 'one' })],
    ).needed,
    0,
  );
  assert.equal(count([agent('x', { active: false })], []).needed, 0);
  assert.ok(
    confirmation(next, undefined, { world: world([], []), policy, now }).unprovable.until ===
      now - 1_000 + policy.unseenSeconds.root,
  );
});
