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
  type Confirmation,
  type ConsumerRecord,
  type DecisionInput,
  type RotatedKind,
  type RotationOperation,
  type RotationPolicy,
  type RotationWorld,
} from '../../../../src/domain/index.ts';

const now = 1_800_000_000;
const policy: RotationPolicy = {
  longestLeafSeconds: 3_600,
  longestJwtSeconds: 600,
  canaryLyingShare: 0.25,
  issuingLifeSeconds: 86_400,
  marginSeconds: 600,
  retireMarginSeconds: 60,
  names: { longestLeafSeconds: 7_200, issuingLifeSeconds: 86_400 },
  unseenSeconds: { root: 600, jwt: 900, 'names-root': 1_200 },
  prepareAtLifeFraction: 0.66,
  onDeadline: 'alert',
  imported: [],
};

const authority = (
  id: string,
  kind: RotatedKind,
  state: Authority['state'],
  over: Partial<Authority> = {},
): Authority => ({
  id,
  kind,
  state,
  version: 1,
  keyType: 'ec-p256',
  token: kind === 'root' ? 'root' : 'issuing',
  ckaId: id,
  parentId: kind === 'issuing' ? 'r1' : null,
  scope: {},
  spkiDer: null,
  certificateDer: null,
  subjectKeyId: 'aa',
  notBefore: now - 1_000,
  notAfter: now + 1_000_000,
  createdAt: now - 1_000,
  activatedAt: state === 'active' ? now - 500 : null,
  taintedAt: null,
  publishedAt: now - 1_000,
  ...over,
});
const operation = (
  over: Partial<RotationOperation['spec']> = {},
  kind: RotatedKind = 'issuing',
): RotationOperation => ({
  id: 'op',
  kind,
  state: 'running',
  version: 0,
  createdBy: 'uid:0',
  createdAt: now,
  updatedAt: now,
  spec: {
    successorId: 'new',
    targets: ['old'],
    targetsBecome: 'old',
    parentId: null,
    trigger: 'operator',
    shares: allShares,
    ...over,
  },
});
const complete: Confirmation = {
  proven: { needed: 2, confirmed: 2, laggards: [] },
  inferred: { needed: 0, confirmed: 0, until: 0, holders: [] },
  unprovable: { until: 0 },
};
const lagging: Confirmation = { ...complete, proven: { needed: 2, confirmed: 1, laggards: [] } };

function input(
  authorities: readonly Authority[],
  over: Partial<DecisionInput> = {},
): DecisionInput {
  return {
    authorities: authorities.map((each) => ({
      authority: each,
      lastExpiry: 0,
      live: 0,
      liveUnreported: 0,
    })),
    confirmations: new Map(),
    operations: [],
    handshakes: new Map(),
    policy,
    now,
    clock: 'believed',
    dualControl: false,
    ...over,
  };
}
const actionTypes = (given: DecisionInput): readonly string[] =>
  decide(given).actions.map(({ type }) => type);
const noteCodes = (given: DecisionInput): readonly string[] =>
  decide(given).notes.map(({ code }) => code);

const root = authority('r1', 'root', 'active', { notAfter: now + 10_000_000 });
const published = [
  root,
  authority('old', 'issuing', 'active'),
  authority('new', 'issuing', 'published', { publishedAt: now - 100 }),
];

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

test('the force of a root rotation is for the intermediates under it, whatever else is under way', () => {
  const authorities = [
    authority('r1', 'root', 'old'),
    authority('r2', 'root', 'active', { notAfter: now + 10_000_000 }),
    authority('old', 'issuing', 'active'),
    authority('other', 'issuing', 'active', { parentId: 'r2', scope: { region: 'eu' } }),
  ];
  const force = { by: 'uid:0', reason: 'they never read' };
  const forced = operation({ successorId: 'r2', targets: ['r1'], force }, 'root');
  const foreign = { ...operation({ targets: ['other'], parentId: 'r2' }), id: 'another' };
  const types = (...operations: RotationOperation[]) =>
    decide(input(authorities, { operations })).actions.map(({ type }) => type);
  const opened = decide(input(authorities, { operations: [forced] })).actions;
  assert.deepEqual(
    opened.map((action) => (action.type === 'open' ? action.force : action.type)),
    [force],
    'it is opened with the force, and the root stays under way until it is',
  );
  assert.ok(!types(forced, foreign).includes('finish'), 'it waits for the one under way');
  const own = { ...operation({ targets: ['old'], parentId: 'r2', force }), id: 'own' };
  assert.ok(types(forced, own).includes('finish'));
  const proven = operation({ successorId: 'r2', targets: ['r1'] }, 'root');
  assert.deepEqual(types(proven), ['finish', 'open']);
});

test('a root that is replaced because it is tainted is tainted only when somebody signs under another', () => {
  const roots = [
    authority('old', 'root', 'old'),
    authority('new', 'root', 'active', { notAfter: now + 10_000_000 }),
  ];
  const tainting = operation({ targetsBecome: 'tainted' }, 'root');
  assert.ok(
    !actionTypes(
      input([...roots, authority('i1', 'issuing', 'active', { parentId: 'old' })], {
        operations: [tainting],
      }),
    ).includes('taint'),
  );
  assert.ok(
    actionTypes(
      input(
        [
          ...roots,
          authority('i1', 'issuing', 'old', { parentId: 'old' }),
          authority('i2', 'issuing', 'active', { parentId: 'new' }),
        ],
        { operations: [tainting] },
      ),
    ).includes('taint'),
  );
  // whoever stands below it follows
  assert.ok(
    actionTypes(
      input([authority('r1', 'root', 'tainted'), authority('i1', 'issuing', 'old')]),
    ).includes('taint'),
  );
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

test('the first authority of a region replaces none, and a new root brings a successor for each scope', () => {
  const eu = { region: 'eu' };
  const first = operation({ targets: [], scope: eu });
  assert.deepEqual(
    actionTypes(input([root, authority('old', 'issuing', 'active')], { operations: [first] })),
    ['prepare'],
  );
  const activated = decide(
    input(published, { operations: [first], confirmations: new Map([['new', complete]]) }),
  ).actions[0];
  assert.deepEqual(activated?.type === 'activate' ? activated.scope : undefined, eu);
  assert.deepEqual(
    actionTypes(
      input(
        [
          root,
          authority('old', 'issuing', 'active'),
          authority('new', 'issuing', 'active', { scope: eu }),
        ],
        { operations: [first] },
      ),
    ),
    ['finish'],
  );
  const roots = [
    authority('r1', 'root', 'old', { notAfter: now + 10_000_000 }),
    authority('r2', 'root', 'active', { notAfter: now + 10_000_000 }),
  ];
  const orphans = [
    authority('there', 'issuing', 'active', { scope: eu }),
    authority('all', 'issuing', 'active'),
  ];
  const targetsOf = (given: DecisionInput): unknown =>
    decide(given).actions.flatMap((action) => (action.type === 'open' ? [action.targets] : []));
  assert.deepEqual(targetsOf(input([...roots, ...orphans])), [['all']]);
  assert.deepEqual(
    targetsOf(
      input([
        ...roots,
        orphans[0] as Authority,
        authority('all', 'issuing', 'active', { parentId: 'r2' }),
      ]),
    ),
    [['there']],
  );
});

test("a root is tainted only after a general issuer under another root signs; a regional one won't do", () => {
  const taints = operation(
    { successorId: 'r2', targets: ['r1'], targetsBecome: 'tainted' },
    'root',
  );
  const given = (scope: Authority['scope']) =>
    input(
      [
        authority('r1', 'root', 'old', { notAfter: now + 10_000_000 }),
        authority('r2', 'root', 'active', { notAfter: now + 10_000_000 }),
        authority('all', 'issuing', 'active'),
        authority('other', 'issuing', 'active', { parentId: 'r2', scope }),
      ],
      { operations: [taints] },
    );
  assert.ok(!actionTypes(given({ region: 'eu' })).includes('taint'));
  assert.ok(actionTypes(given({})).includes('taint'));
});

const hollow: Confirmation = { ...complete, proven: { needed: 0, confirmed: 0, laggards: [] } };
const endedIssuer = authority('old', 'issuing', 'active', {
  notBefore: now - 9_000,
  notAfter: now,
});
const successor = authority('new', 'issuing', 'published', { publishedAt: now - 1 });
const scheduled = operation({ trigger: 'schedule' });

test('past the end of the issuer the next one is made by itself, and signs unconfirmed, on record', () => {
  const [opened] = decide(input([root, endedIssuer])).actions;
  assert.ok(opened?.type === 'open' && opened.trigger === 'schedule');
  for (const found of [undefined, hollow, lagging]) {
    const [action] = decide(
      input([root, endedIssuer, successor], {
        operations: [scheduled],
        confirmations: new Map(found === undefined ? [] : [['new', found]]),
      }),
    ).actions;
    assert.ok(action?.type === 'activate');
    assert.deepEqual(action.without, { kind: 'ended', ended: now });
  }
  const [proven] = decide(
    input([root, endedIssuer, successor], {
      operations: [scheduled],
      confirmations: new Map([['new', complete]]),
    }),
  ).actions;
  assert.ok(proven?.type === 'activate' && proven.without.kind === 'proven');
});

test('past the end of the issuer nothing is made without an active root, a schedule, one operator, a clock', () => {
  const manual = { ...policy, prepareAtLifeFraction: undefined };
  const overRoot = { ...root, notAfter: now };
  const cases: readonly (readonly [string, readonly Authority[], Partial<DecisionInput>])[] = [
    ['the root has ended', [overRoot, endedIssuer], {}],
    ['the key of the root is not here', [{ ...root, token: 'external' }, endedIssuer], {}],
    ['no schedule', [root, endedIssuer], { policy: manual }],
    ['dual control', [root, endedIssuer], { dualControl: true }],
    ['a clock that jumped', [root, endedIssuer], { clock: 'jumped' }],
    ['a clock behind the log', [root, endedIssuer], { clock: 'behind-log' }],
    ['an unproven clock', [root, endedIssuer], { clock: 'unproven' }],
  ];
  for (const [why, authorities, over] of cases) {
    assert.deepEqual(actionTypes(input(authorities, over)), [], why);
    assert.ok(noteCodes(input(authorities, over)).includes('ENDED'), why);
    const running = input([...authorities, successor], {
      ...over,
      operations: [scheduled],
      confirmations: new Map([['new', hollow]]),
    });
    // a rotation without a schedule is an operator's, and an external root has imported intermediates
    if (!why.startsWith('no schedule') && !why.startsWith('the'))
      assert.deepEqual(actionTypes(running), [], why);
  }
  assert.deepEqual(
    actionTypes(
      input([root, endedIssuer, successor], {
        dualControl: true,
        operations: [operation()],
        confirmations: new Map([['new', hollow]]),
      }),
    ),
    ['activate'],
    'what operators approved goes on',
  );
});

test('an issuer that has ended and waits for an operator holds up no successor of another scope', () => {
  const eu = { region: 'eu' };
  const due = authority('there', 'issuing', 'active', {
    scope: eu,
    notBefore: now - 70_000,
    notAfter: now + 30_000,
  });
  const targetsOf = (...authorities: readonly Authority[]): readonly (readonly string[])[] =>
    decide(input([root, ...authorities], { dualControl: true })).actions.flatMap((action) =>
      action.type === 'open' ? [action.targets] : [],
    );
  assert.deepEqual(targetsOf(endedIssuer), []);
  assert.deepEqual(targetsOf(endedIssuer, due), [['there']]);
  assert.deepEqual(
    targetsOf({ ...endedIssuer, scope: eu }, due),
    [['there']],
    'the ended one waits',
  );
});

test('an operation below a root that has ended is given up with the reason, and holds up no other', () => {
  const overRoot = { ...root, notAfter: now };
  const other = { ...operation({ successorId: 'j2', targets: ['j1'] }, 'jwt'), id: 'another' };
  const preparing = authority('new', 'issuing', 'preparing');
  const jwts = [authority('j1', 'jwt', 'active'), authority('j2', 'jwt', 'prepared')];
  for (const [made, parentId] of [
    [[preparing], null],
    [[], 'r1'],
  ] as const) {
    const given = input([overRoot, endedIssuer, ...jwts, ...made], {
      operations: [operation({ parentId }), other],
    });
    const { actions } = decide(given);
    assert.deepEqual(
      actions.map(({ type }) => type),
      ['cancel', 'publish'],
    );
    const [first] = actions;
    assert.ok(first?.type === 'cancel' && first.operation.id === 'op');
    assert.match(first.reason, /the root r1, .* is past its end/);
    assert.ok(noteCodes(given).includes('ENDED'));
    const doubted = { ...given, clock: 'jumped' as const };
    assert.deepEqual(actionTypes(doubted), [], 'by a clock that is not believed no root has ended');
    const living = { ...given, authorities: input([root, ...jwts, ...made]).authorities };
    assert.deepEqual(actionTypes(living), ['prepare', 'publish']);
  }
});

test('below a root that ends, no successor or standby is made that would end no later', () => {
  const root = authority('r1', 'root', 'active', { notAfter: now + 1_800 });
  const signing = authority('i1', 'issuing', 'active', { notAfter: now + 900 });
  const ending = { ...signing, notAfter: root.notAfter };
  const standby = authority('s1', 'issuing', 'published', {
    token: 'standby',
    notAfter: root.notAfter,
  });
  const opened = (authorities: readonly Authority[]): readonly string[] =>
    decide(input(authorities, { policy: { ...policy, standby: ['issuing'] } })).actions.flatMap(
      (action) =>
        action.type === 'standby' || (action.type === 'open' && action.kind === 'issuing')
          ? [action.type]
          : [],
    );
  assert.deepEqual(opened([root, signing, standby]), ['open']);
  assert.deepEqual(opened([root, ending, { ...standby, notAfter: now + 900 }]), ['standby']);
  assert.deepEqual(opened([root, ending, standby]), []);
});

test('a standby takes over past the end only where it had been confirmed', () => {
  const standby = authority('new', 'issuing', 'published', { token: 'standby', parentId: 'r1' });
  const at = (found: Confirmation) =>
    input([root, { ...endedIssuer, parentId: 'r1' }, standby], {
      policy: { ...policy, standby: ['issuing'], standbyAfterSeconds: 30 },
      issuingTokenLostAt: now - 60,
      operations: [operation({ trigger: 'token' })],
      confirmations: new Map([['new', found]]),
    });
  assert.deepEqual(actionTypes(at(hollow)), []);
  assert.ok(noteCodes(at(hollow)).includes('WAITING_OPERATOR'));
  assert.deepEqual(actionTypes(at(complete)), ['activate']);
  const waiting = { ...at(hollow), operations: [] };
  assert.ok(noteCodes(waiting).includes('STANDBY_WAITING'));
});

test('an unbelieved clock retires nothing and opens nothing, and says which doubt it is', () => {
  const old = authority('gone', 'issuing', 'old', { notAfter: now - 10 });
  for (const [clock, code] of [
    ['jumped', 'CLOCK_JUMPED'],
    ['behind-log', 'CLOCK_BEHIND_LOG'],
    ['unproven', 'CLOCK_UNPROVEN'],
  ] as const) {
    const given = input([root, authority('i', 'issuing', 'active'), old], { clock });
    assert.deepEqual(actionTypes(given), []);
    assert.ok(noteCodes(given).includes(code));
  }
  assert.deepEqual(actionTypes(input([root, authority('i', 'issuing', 'active'), old])), [
    'retire',
  ]);
});
