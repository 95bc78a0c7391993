import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import {
  EvidenceCheck,
  type ActivationEvidence,
  type EvidenceLine,
} from '../../../../src/common/tlog/index.ts';
import {
  activationEvidence,
  allShares,
  confirmation,
  type ActivationProof,
  type AgentFacts,
  type Authority,
  type ConsumerRecord,
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
const sha256 = (text: string | Buffer): string => createHash('sha256').update(text).digest('hex');
const prints = { r1: sha256('r1'), r2: sha256('r2'), i2: sha256('i2') };
const digestOf = (...members: readonly string[]): string =>
  sha256(Buffer.concat([...members].sort().map((member) => Buffer.from(member, 'hex'))));
const sets = {
  both: digestOf(prints.r1, prints.r2),
  one: digestOf(prints.r1),
  issuer: digestOf(prints.i2),
};
const members = new Map([
  [sets.both, [prints.r1, prints.r2]],
  [sets.one, [prints.r1]],
  [sets.issuer, [prints.i2]],
]);

const authority = (over: Partial<Authority> = {}): Authority => ({
  id: 'r2',
  kind: 'root',
  state: 'published',
  version: 1,
  keyType: 'ec-p256',
  token: 'root',
  ckaId: 'aa',
  parentId: null,
  scope: {},
  spkiDer: null,
  certificateDer: null,
  subjectKeyId: 'aa',
  notBefore: now - 1_000,
  notAfter: now + 1_000_000,
  createdAt: now - 1_000,
  activatedAt: null,
  taintedAt: null,
  publishedAt: now - 700,
  ...over,
});
const agent = (id: string, over: Partial<AgentFacts> = {}): AgentFacts => ({
  id: `spiffe://x/${id}`,
  kind: 'agent',
  active: true,
  connected: true,
  lastSeenAt: now,
  lastLeafNotAfter: now + 3_600,
  ...over,
});
const consumer = (
  agentName: string,
  id: string,
  over: Partial<ConsumerRecord> = {},
): ConsumerRecord => ({
  agentId: `spiffe://x/${agentName}`,
  id,
  kind: id === 'self' ? 'agent' : 'workload-stream',
  spiffeId: `spiffe://x/w/${id}`,
  authoritySetDigest: sets.both,
  jwtSetDigest: '',
  issuerSetDigest: id === 'self' ? sets.issuer : '',
  capabilities: [],
  state: 'confirmed',
  reason: '',
  since: now - 300,
  heardAt: now - 299,
  description: `the ${id}`,
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
      [sets.both, new Set(['r1', 'r2'])],
      [sets.one, new Set(['r1'])],
    ]),
    jwt: new Map(),
    issuing: new Map([[sets.issuer, new Set(['i2'])]]),
  },
});
const evidence = (
  seen: RotationWorld,
  without: ActivationProof = { kind: 'proven' },
  of: Authority = authority(),
): ActivationEvidence =>
  activationEvidence({
    authority: of,
    sha256: of.kind === 'root' ? prints.r2 : prints.i2,
    root: of.kind === 'root' ? undefined : { id: 'r1', sha256: prints.r1 },
    scope: {},
    without,
    shares: allShares,
    found: confirmation(of, of.kind === 'root' ? undefined : 'r1', { world: seen, policy, now }),
    world: seen,
    membersOf: (digest) => members.get(digest) ?? [],
    relied: 0,
    policy,
    now,
  });

function check(
  made: ActivationEvidence,
  over: {
    readonly statement?: Buffer;
    readonly chunks?: readonly Buffer[];
    readonly sha256?: string;
    readonly detail?: Record<string, unknown>;
    readonly authorityId?: string;
  } = {},
): readonly EvidenceLine[] {
  const reading = new EvidenceCheck(
    {
      authorityId: over.authorityId ?? 'r2',
      sha256: over.sha256 ?? made.sha256,
      ...(over.detail === undefined ? {} : { detail: over.detail }),
    },
    over.statement ?? made.statement,
  );
  const lines = (over.chunks ?? made.chunks).flatMap((chunk) => reading.chunk(chunk));
  reading.finish();
  return lines;
}
const code = (act: () => unknown): string => {
  try {
    act();
    return 'accepted';
  } catch (thrown) {
    assert.ok(thrown instanceof PkiError, String(thrown));
    return thrown.code;
  }
};

const seen = world(
  [
    agent('a'),
    agent('b', { connected: false }),
    agent('gone', { connected: false, lastLeafNotAfter: now - 100 }),
    agent('long-gone', { connected: false, lastLeafNotAfter: now - 100_000 }),
    agent('banned', { active: false }),
  ],
  [
    consumer('a', 'self'),
    consumer('a', 'web'),
    consumer('a', 'db', { authoritySetDigest: sets.one }),
    consumer('b', 'self'),
    consumer('gone', 'self'),
  ],
);

test('the evidence lists by class who held what, who was passed over and why, and whose leaves expired', () => {
  const made = evidence(seen, { kind: 'forced', by: 'uid:0', reason: 'in repair' });
  const lines = check(made, { detail: { without: 'forced', provenNeeded: 4, provenConfirmed: 3 } });
  assert.deepEqual(
    lines.map((line) => [
      line.agent,
      line.class,
      line.class === 'expired' ? line.until : line.consumer,
    ]),
    [
      ['spiffe://x/a', 'passed-over', 'db'],
      ['spiffe://x/a', 'proven', 'self'],
      ['spiffe://x/a', 'proven', 'web'],
      ['spiffe://x/b', 'proven', 'self'],
      ['spiffe://x/gone', 'expired', now - 100],
    ],
  );
  const [db, self] = lines;
  assert.deepEqual(db?.class === 'passed-over' && [db.why, db.state, db.holds, db.description], [
    'force',
    'behind',
    ['r1'],
    'the db',
  ]);
  assert.deepEqual(self?.class === 'proven' && [self.of, self.set, self.heardAt, self.since], [
    'root',
    sets.both,
    now - 299,
    now - 300,
  ]);
  // the counts are those from which the decision was made
  const found = confirmation(authority(), undefined, { world: seen, policy, now }).proven;
  assert.deepEqual(made.proven, { needed: found.needed, confirmed: found.confirmed });
});

test('the evidence names laggards of a deadline or share, and counts altered agents', () => {
  const why = (without: ActivationProof): readonly string[] =>
    check(evidence(seen, without)).flatMap((line) =>
      line.class === 'passed-over' ? [line.why] : [],
    );
  assert.deepEqual(
    [why({ kind: 'deadline', deadline: now - 5 }), why({ kind: 'proven' })],
    [['deadline'], ['share']],
  );
  const stated = (made: ActivationEvidence): any =>
    JSON.parse(made.statement.toString('utf8').split('\n')[1] as string);
  assert.deepEqual(stated(evidence(seen, { kind: 'deadline', deadline: now - 5 })).without, {
    kind: 'deadline',
    deadline: now - 5,
    by: '',
    reason: '',
  });
  assert.deepEqual(
    [
      stated(evidence(seen)).alteredAgents,
      stated(evidence({ ...seen, alteredAgents: 2 }, { kind: 'forced', by: 'uid:0', reason: 'x' }))
        .alteredAgents,
    ],
    [0, 2],
  );
  // what nobody has told this process proves nothing here either
  const unheard = check(
    evidence({
      ...seen,
      consumers: seen.consumers.map((each) => ({ ...each, heardAt: undefined as never })),
    }),
  );
  assert.deepEqual(
    unheard.filter((line) => line.class === 'proven'),
    [],
  );
});

test('whose roots are inferred counts as inferred, by name, and in no line of the proven', () => {
  const capabilities = ['departed', 'inferred'];
  const until = now + 50;
  const some = world(
    [agent('a')],
    [
      consumer('a', 'self'),
      consumer('a', 'new', { capabilities, departedUntil: now + 90 }),
      consumer('a', 'old', { capabilities, authoritySetDigest: sets.one, departedUntil: until }),
    ],
  );
  const { proven, inferred } = confirmation(authority(), undefined, { world: some, policy, now });
  assert.deepEqual([proven.needed, proven.confirmed], [1, 1]);
  assert.deepEqual(inferred, {
    needed: 2,
    confirmed: 1,
    until,
    holders: [{ holder: 'spiffe://x/w/old (the old) on spiffe://x/a', until }],
  });
  const lines = check(evidence(some), {
    detail: { without: 'proven', provenNeeded: 1, provenConfirmed: 1 },
  });
  assert.deepEqual(
    lines.map((line) => line.class === 'proven' && line.consumer),
    ['self'],
  );
});

test('an intermediate is proven by those that verified it, and by those that hold its root', () => {
  const lines = check(
    evidence(
      world([agent('a')], [consumer('a', 'self'), consumer('a', 'web')]),
      { kind: 'proven' },
      authority({ id: 'i2', kind: 'issuing', parentId: 'r1' }),
    ),
    { authorityId: 'i2' },
  );
  assert.deepEqual(
    lines.map((line) => line.class === 'proven' && [line.consumer, line.of, line.set]),
    [
      ['self', 'issuing', sets.issuer],
      ['web', 'root', sets.both],
    ],
  );
});

test('the same world gives the same bytes, in whatever order it is read', () => {
  const one = evidence(seen);
  const other = evidence({
    ...seen,
    agents: [...seen.agents].reverse(),
    consumers: [...seen.consumers].reverse(),
  });
  assert.equal(one.sha256, other.sha256);
  assert.deepEqual(one.chunks, other.chunks);
});

test('a list that was changed in any way is not that of the record', () => {
  const made = evidence(seen);
  const [chunk] = made.chunks as [Buffer];
  const edited = (from: string, to: string): Buffer =>
    Buffer.from(chunk.toString('utf8').replace(from, to), 'utf8');
  const restated = (from: string | RegExp, to: string): Buffer =>
    Buffer.from(made.statement.toString('utf8').replace(from, to), 'utf8');
  assert.equal(
    code(() => check(made)),
    'accepted',
  );
  assert.equal(
    code(() => check(made, { chunks: [edited('the web', 'the app')] })),
    'EVIDENCE_INVALID',
  );
  assert.equal(
    code(() => check(made, { chunks: [] })),
    'EVIDENCE_INVALID',
  );
  assert.equal(
    code(() => check(made, { chunks: [chunk, chunk] })),
    'EVIDENCE_INVALID',
  );
  assert.equal(
    code(() => check(made, { statement: restated('"needed":4', '"needed":3') })),
    'EVIDENCE_INVALID',
  );
  assert.equal(
    code(() => check(made, { authorityId: 'r9' })),
    'EVIDENCE_INVALID',
  );
  assert.equal(
    code(() => check(made, { detail: { without: 'proven', provenNeeded: 3, provenConfirmed: 3 } })),
    'EVIDENCE_INVALID',
  );
  // whole and under its own digest, it still has to be true in itself
  const claims = (statement: Buffer, chunks = made.chunks): string =>
    code(() => check(made, { statement, sha256: sha256(statement), chunks }));
  assert.equal(claims(made.statement), 'accepted');
  assert.equal(claims(restated('"needed":4', '"needed":3')), 'EVIDENCE_INVALID');
  assert.equal(claims(restated(`"${prints.r1}",`, '')), 'EVIDENCE_INVALID');
  const behind = edited(`"set":"${sets.both}"`, `"set":"${sets.one}"`);
  assert.equal(claims(restated(sha256(chunk), sha256(behind)), [behind]), 'EVIDENCE_INVALID');
  const twice = edited('"consumer":"web"', '"consumer":"self"');
  assert.equal(claims(restated(sha256(chunk), sha256(twice)), [twice]), 'EVIDENCE_INVALID');
  assert.equal(claims(Buffer.from('meshca-activation-v1\n{', 'utf8')), 'EVIDENCE_INVALID');
  assert.equal(claims(Buffer.from('{}', 'utf8')), 'EVIDENCE_INVALID');
});

test('ten thousand consumers are a list of a few hundred bytes each, in parts of a thousand', (context) => {
  const agents = Array.from({ length: 1_000 }, (_, index) => agent(`meshca/agent/node-${index}`));
  const consumers = agents.flatMap((_, index) =>
    ['self', ...Array.from({ length: 9 }, (__, each) => `stream-${each}-0193a1b2c3d4`)].map((id) =>
      consumer(`meshca/agent/node-${index}`, id),
    ),
  );
  const started = process.cpuUsage();
  const made = evidence(world(agents, consumers));
  const { user, system } = process.cpuUsage(started);
  const size = made.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  assert.deepEqual([made.chunks.length, made.proven], [10, { needed: 10_000, confirmed: 10_000 }]);
  assert.ok(
    made.statement.length < 4_096 && size < 10_000 * 500,
    `${made.statement.length} and ${size}`,
  );
  context.diagnostic(
    `${size} bytes, statement ${made.statement.length}, ${(user + system) / 1000} ms of CPU`,
  );
  assert.equal(check(made).length, 10_000);
});
