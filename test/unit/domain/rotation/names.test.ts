import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  allShares,
  confirmation,
  decide,
  isConfirmed,
  scheduleProblem,
  type Authority,
  type DecisionInput,
  type RotatedKind,
  type RotationOperation,
  type RotationPolicy,
} from '../../../../src/domain/index.ts';

const now = 1_800_000_000;
const day = 86_400;
const policy: RotationPolicy = {
  longestLeafSeconds: day,
  longestJwtSeconds: 600,
  canaryLyingShare: 0.25,
  issuingLifeSeconds: 365 * day,
  marginSeconds: 3_600,
  retireMarginSeconds: 300,
  names: { longestLeafSeconds: 90 * day, issuingLifeSeconds: 365 * day },
  unseenSeconds: { root: 600, jwt: 900, 'names-root': 3 * day },
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
  token: kind === 'root' || kind === 'names-root' ? 'root' : 'issuing',
  ckaId: id,
  parentId: null,
  scope: {},
  spkiDer: Buffer.from(id),
  certificateDer: Buffer.from(id),
  subjectKeyId: id,
  notBefore: now - day,
  notAfter: now + 3_650 * day,
  createdAt: now - day,
  activatedAt: null,
  taintedAt: null,
  publishedAt: now,
  ...over,
});
const rotation = (
  kind: RotatedKind,
  spec: Partial<RotationOperation['spec']> = {},
): RotationOperation => ({
  id: `rotation of ${kind}`,
  kind,
  state: 'running',
  version: 0,
  createdBy: 'uid:0',
  createdAt: now,
  updatedAt: now,
  spec: {
    successorId: 'next',
    targets: ['root'],
    targetsBecome: 'old',
    parentId: null,
    trigger: 'operator',
    shares: allShares,
    ...spec,
  },
});
function deciding(
  authorities: readonly Authority[],
  over: Partial<DecisionInput> = {},
): readonly string[] {
  const at = over.now ?? now;
  const { actions } = decide({
    authorities: authorities.map((each) => ({
      authority: each,
      lastExpiry: 0,
      live: 0,
      liveUnreported: 0,
    })),
    // as the observer does: of agents, world and consumers nothing is asked
    confirmations: new Map(
      authorities
        .filter(({ state }) => state === 'published')
        .map((each) => [
          each.id,
          confirmation(each, undefined, { world: undefined as never, policy, now: at }),
        ]),
    ),
    operations: [],
    handshakes: new Map(),
    policy,
    now,
    clock: 'believed',
    dualControl: false,
    ...over,
  });
  return actions.map((action) => {
    switch (action.type) {
      case 'cross':
        return `cross ${action.from.id} ${action.to.id}`;
      case 'open':
        return `open ${action.kind} ${action.trigger} ${action.targets.join()} ${action.parentId}`;
      case 'prepare':
      case 'finish':
      case 'cancel':
        return `${action.type} ${action.operation.kind}`;
      case 'standby':
        return `standby ${action.kind}`;
      default:
        return `${action.type} ${action.authority.id}`;
    }
  });
}

const root = authority('root', 'names-root', 'active');
const issuing = authority('issuing', 'names-issuing', 'active', {
  parentId: 'root',
  notAfter: now + 365 * day,
});
const next = authority('next', 'names-root', 'published');
const cross = authority('cross', 'names-issuing', 'published', {
  token: 'external',
  parentId: 'root',
  spkiDer: next.spkiDer,
});
const under = { operations: [rotation('names-root')] };

test('a root of names is certified by the earlier one, and signs when it was published long enough', () => {
  assert.deepEqual(deciding([root, issuing, next], under), ['cross root next']);
  const all = [root, issuing, next, cross];
  assert.deepEqual(deciding(all, under), [], 'published now');
  const later = (seconds: number) => deciding(all, { ...under, now: now + seconds });
  assert.deepEqual(later(3 * day - 1), []);
  assert.deepEqual(later(3 * day), ['activate next']);
  assert.deepEqual(
    deciding(all, { ...under, now: now + 3 * day, clock: 'jumped' }),
    [],
    'time counts only by a clock that is believed',
  );
});

test('nobody is counted: no agent that lags, and no altered row of an agent, holds up names', () => {
  const found = confirmation(next, undefined, {
    world: undefined as never,
    policy,
    now: now + 5,
  });
  assert.deepEqual(found, {
    proven: { needed: 0, confirmed: 0, laggards: [] },
    inferred: { needed: 0, confirmed: 0, until: 0, holders: [] },
    unprovable: { until: now + 3 * day },
  });
  assert.equal(isConfirmed(found, allShares, now + 3 * day - 1), false);
  assert.equal(isConfirmed({ ...found }, { ...allShares, unprovable: 0 }, now), true);
});

test('a root that is replaced because it is tainted certifies nothing', () => {
  const tainting = rotation('names-root', { targetsBecome: 'tainted' });
  assert.deepEqual(deciding([root, issuing, next], { operations: [tainting] }), []);
});

test('the issuing authority follows its root, and signs at once', () => {
  const old: Authority = { ...root, state: 'old' };
  const active: Authority = { ...next, state: 'active' };
  const chain = [old, active, cross, issuing];
  assert.deepEqual(deciding(chain), ['open names-issuing root issuing next']);
  const successor = authority('below', 'names-issuing', 'published', { parentId: 'next' });
  assert.deepEqual(
    deciding([...chain, successor], {
      operations: [
        rotation('names-issuing', { successorId: 'below', targets: ['issuing'], parentId: 'next' }),
      ],
    }),
    ['activate below'],
  );
});

test('a successor is prepared before a leaf is cut, by the lives of names', () => {
  const due = issuing.notAfter - policy.names.longestLeafSeconds - policy.marginSeconds;
  const late: Authority = { ...issuing, notBefore: issuing.notAfter - 100 * day };
  // 66 % of 100 days are over before the last 90 days and an hour begin
  const at = Math.min(late.notBefore + 66 * day, due);
  assert.deepEqual(deciding([root, late], { now: at - 1 }), []);
  assert.deepEqual(deciding([root, late], { now: at }), [
    'open names-issuing schedule issuing null',
  ]);
  assert.deepEqual(
    deciding([root, late], {
      now: at,
      policy: { ...policy, idle: ['names-root', 'names-issuing'] },
    }),
    [],
    'switched off',
  );
  assert.equal(scheduleProblem('names-issuing', 365 * day, policy), undefined);
  assert.ok(scheduleProblem('names-issuing', 200 * day, policy) !== undefined);
});

test('the earlier root of names stays while its cross-certificate helps somebody, and then ends', () => {
  const ending: Authority = { ...root, state: 'old', notAfter: now + day };
  const active: Authority = { ...next, state: 'active' };
  const bridge: Authority = { ...cross, notAfter: now + day };
  const signing: Authority = { ...issuing, parentId: 'next' };
  const all = [ending, active, bridge, signing];
  assert.deepEqual(deciding(all), []);
  assert.deepEqual(deciding(all, { now: now + day }), ['drop cross']);
  const over = { now: now + day + 301 };
  const dropped: Authority = { ...bridge, state: 'withdrawn' };
  assert.deepEqual(deciding([ending, active, dropped, signing], over), ['retire root']);
});

test('what a crash left of a cross-certificate is dropped', () => {
  const part: Authority = { ...cross, state: 'preparing', spkiDer: null };
  assert.deepEqual(deciding([root, issuing, next, part], under), ['cross root next', 'drop cross']);
});

test('the taint of a root of names taints what is below it, and never touches the mesh', () => {
  const tainted: Authority = { ...root, state: 'tainted', taintWindowSeconds: 60 };
  const mesh = [
    authority('mesh', 'root', 'active'),
    authority('signer', 'issuing', 'active', { parentId: 'mesh' }),
  ];
  assert.deepEqual(deciding([tainted, issuing, ...mesh]), ['taint issuing']);
  const row = { object: 'authority', id: 'lost', kind: 'names-root' } as const;
  const ending: Authority = { ...(mesh[1] as Authority), notAfter: now + day };
  assert.deepEqual(
    deciding([root, issuing, mesh[0] as Authority, ending], { altered: [row] }),
    ['open issuing schedule signer null'],
    'an altered row of names holds up names alone',
  );
});
