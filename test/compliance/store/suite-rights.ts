import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../../src/common/errors/index.ts';
import type {
  AgentSvidRight,
  AuthorityRight,
  CallerRight,
  DelegationRight,
  Right,
  Rights,
} from '../../../src/domain/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import {
  mayFinish,
  activeAuthority,
  agentId,
  attested,
  by,
  creates,
  delegation,
  deletes,
  draft,
  event,
  intent,
  issued,
  newSerial,
  signed,
  start,
  updates,
  type ManualClock,
  type OpenStore,
} from './fixtures.ts';

export interface RightsWorld {
  readonly store: Ledger;
  readonly clock: ManualClock;
  readonly rights: {
    readonly authority: AuthorityRight;
    readonly entry: Right;
    readonly agent: Right;
    readonly agentSvid: AgentSvidRight;
    readonly delegation: DelegationRight;
    readonly caller: CallerRight;
    readonly policy: Right;
  };
  readonly authorityVersion: number;
  readonly authorityId: string;
  readonly entry: ReturnType<typeof draft>;
}

/**
 * A row of every kind that a right rests on, and the rights. A certificate was issued under all of
 * them: an engine may have kept the rows.
 */
export async function rightsWorld(store: Ledger, clock: ManualClock): Promise<RightsWorld> {
  const authority = await activeAuthority(store);
  const entry = draft({ expiresAt: start + 1000 });
  const [change] = await store.entries.write([creates(entry)], by);
  const agent = await store.agents.record({
    agent: attested(),
    act: 'attest',
    event: event('agent.attested'),
  });
  const allowed = delegation({ expiresAt: start + 2000 });
  await store.delegations.create(allowed, event('delegation.created'));
  const caller = await issued(store, authority.id, { notAfter: start + 3000 });
  const rights: RightsWorld['rights'] = {
    authority: mayFinish(authority.id),
    entry: { kind: 'entry', id: entry.id, revision: change!.after!.revision },
    agent: { kind: 'agent', spiffeId: agent.spiffeId, generation: agent.generation },
    agentSvid: { kind: 'agent-svid', spiffeId: agent.spiffeId, serial: agent.serial },
    delegation: { kind: 'delegation', id: allowed.id },
    caller: { kind: 'caller', serial: caller.serial },
    policy: { kind: 'policy', version: 0 },
  };
  const first = intent({ authorityId: authority.id });
  await store.issuance.recordIntents([first]);
  const outcomes = await store.issuance.finish([signed(first, Object.values(rights))]);
  assert.deepEqual(outcomes, [{ state: 'issued' }]);
  const { id: authorityId, version: authorityVersion } = authority;
  return { store, clock, entry, authorityId, authorityVersion, rights };
}

/**
 * What may happen between intent and finish, and the code that the certificate is then withheld
 * with.
 */
const endings: readonly (readonly [
  what: string,
  code: ErrorCode | undefined,
  act: (world: RightsWorld) => Promise<unknown>,
])[] = [
  ['nothing happened', undefined, async () => {}],
  [
    'another entry was created',
    undefined,
    ({ store }) =>
      store.entries.write([creates(draft({ spiffeId: 'spiffe://example.org/other' }))], by),
  ],
  [
    'a policy was activated',
    'POLICY_CHANGED',
    ({ store }) =>
      store.issuancePolicies.activate(
        { text: 'a', sha256: 'ab', reason: 'r', activatedAt: start, activatedBy: 'uid:0' },
        0,
        event('issuance-policy.activated'),
      ),
  ],
  [
    'the authority was tainted',
    'AUTHORITY_TAINTED',
    (w) =>
      w.store.authorities.transition(
        { id: w.authorityId, version: w.authorityVersion, now: start },
        'tainted',
        event('authority.tainted'),
      ),
  ],
  [
    'the authority became old',
    undefined,
    (w) =>
      w.store.authorities.transition(
        { id: w.authorityId, version: w.authorityVersion, now: start },
        'old',
        event('authority.old'),
      ),
  ],
  [
    'the entry was deleted',
    'ENTRY_NOT_AUTHORIZED',
    (w) => w.store.entries.write([deletes(w.entry.id)], by),
  ],
  [
    'the entry was updated',
    'ENTRY_CHANGED',
    (w) => w.store.entries.write([updates({ ...w.entry, hint: 'new' })], by),
  ],
  [
    'the entry was deleted and created again',
    'ENTRY_CHANGED',
    async (w) => {
      await w.store.entries.write([deletes(w.entry.id)], by);
      await w.store.entries.write([creates(w.entry)], by);
    },
  ],
  ['the entry expired', 'ENTRY_NOT_AUTHORIZED', async (w) => w.clock.advance(1000)],
  ['the entry is in its last second', undefined, async (w) => w.clock.advance(999)],
  [
    'the agent was banned',
    'AGENT_BANNED',
    (w) => w.store.agents.setState(agentId, 'banned', 'stolen', event('agent.banned')),
  ],
  [
    'the agent was evicted',
    'AGENT_EVICTED',
    (w) => w.store.agents.setState(agentId, 'evicted', 'moved', event('agent.evicted')),
  ],
  [
    'the agent attested again',
    'AGENT_SUPERSEDED',
    (w) =>
      w.store.agents.record({ agent: attested(), act: 'attest', event: event('agent.attested') }),
  ],
  [
    'the agent renewed',
    undefined,
    async (w) =>
      w.store.agents.record({
        agent: attested(),
        act: 'renew',
        generation: 1,
        renewed: w.rights.agentSvid.serial,
        event: event('agent.renewed'),
      }),
  ],
  [
    'the agent uses the SVID that it renewed',
    'AGENT_SUPERSEDED',
    async (w) => {
      const renewed = await w.store.agents.record({
        agent: attested(),
        act: 'renew',
        generation: 1,
        renewed: w.rights.agentSvid.serial,
        event: event('agent.renewed'),
      });
      const { spiffeId, serial } = renewed;
      await w.store.agents.use({ spiffeId, serial, generation: 1, kept: serial, timeMs: 1 });
    },
  ],
  [
    'the delegation was revoked',
    'OUTSIDE_DELEGATION',
    (w) => w.store.delegations.revoke(w.rights.delegation.id, start, event('delegation.revoked')),
  ],
];

export function rightsCases(name: string, open: OpenStore): void {
  test(`${name}: at the end each right is checked again, and the first that ended withholds the certificate`, async (t) => {
    for (const [what, expected, act] of endings) {
      await t.test(what, async () => {
        await using opened = await open();
        const w = await rightsWorld(opened.store, opened.clock);
        const one = intent({ authorityId: w.authorityId });
        await w.store.issuance.recordIntents([one]);
        await act(w);
        const [outcome] = await w.store.issuance.finish([signed(one, Object.values(w.rights))]);
        const record = await w.store.certificates.bySerial(one.serial);
        const { items } = await w.store.audit.list({ subject: one.serial }, { size: 10 });
        if (expected === undefined) {
          assert.deepEqual(outcome, { state: 'issued' });
          return;
        }
        assert.equal(outcome?.state === 'withheld' && outcome.code, expected);
        assert.deepEqual([record?.state, record?.stateReason], ['withheld', expected]);
        assert.ok(record?.certificateDer, 'recorded, never released');
        assert.deepEqual(
          items.map(({ kind }) => kind),
          ['certificate.withheld'],
        );
        assert.ok(items[0]?.canonical.includes(expected));
      });
    }
  });

  test(`${name}: missing rights are named: unknown object, expired delegation, expired or unissued caller`, async () => {
    await using opened = await open();
    const w = await rightsWorld(opened.store, opened.clock);
    const unfinished = intent({ authorityId: w.authorityId });
    await w.store.issuance.recordIntents([unfinished]);
    const early = await issued(w.store, w.authorityId, {
      notBefore: start + 10_000,
      notAfter: start + 20_000,
    });
    const check = async (...rights: Rights): Promise<string | false | undefined> => {
      const one = intent({ authorityId: w.authorityId });
      await w.store.issuance.recordIntents([one]);
      const [outcome] = await w.store.issuance.finish([
        signed(one, [w.rights.authority, ...rights]),
      ]);
      return outcome?.state === 'withheld' ? outcome.code : outcome?.state;
    };
    assert.equal(await check(mayFinish('unknown')), 'AUTHORITY_TAINTED');
    assert.equal(
      await check({ kind: 'entry', id: 'unknown', revision: 1 }),
      'ENTRY_NOT_AUTHORIZED',
    );
    assert.equal(
      await check({ kind: 'agent', spiffeId: 'spiffe://example.org/unknown', generation: 1 }),
      'AGENT_EVICTED',
    );
    assert.equal(
      await check({ kind: 'agent', spiffeId: agentId, generation: 2 }),
      'AGENT_SUPERSEDED',
    );
    assert.equal(await check({ kind: 'delegation', id: 'unknown' }), 'OUTSIDE_DELEGATION');
    assert.equal(await check({ kind: 'caller', serial: newSerial() }), 'CERTIFICATE_UNKNOWN');
    assert.equal(await check({ kind: 'caller', serial: 'no hex' }), 'CERTIFICATE_UNKNOWN');
    assert.equal(await check({ kind: 'caller', serial: unfinished.serial }), 'CERTIFICATE_UNKNOWN');
    assert.equal(await check({ kind: 'caller', serial: early.serial }), 'CERTIFICATE_EXPIRED');
    assert.equal(
      await check({ ...w.rights.authority, states: ['preparing'] }),
      'AUTHORITY_TAINTED',
      'the right names its states',
    );
    assert.equal(
      await check({ kind: 'weather', id: 'a' } as unknown as Right),
      'WITHHELD',
      'a kind that nobody here can check',
    );
    opened.clock.advance(1999);
    assert.equal(await check(w.rights.delegation), 'issued');
    opened.clock.advance(1);
    assert.equal(await check(w.rights.delegation), 'OUTSIDE_DELEGATION');
    opened.clock.advance(1000);
    assert.equal(await check(w.rights.caller), 'issued', 'notAfter is inclusive');
    opened.clock.advance(1);
    assert.equal(await check(w.rights.caller), 'CERTIFICATE_EXPIRED');
  });

  test(`${name}: a ban among concurrent batches: nothing that is decided after it is issued`, async () => {
    await using opened = await open();
    const { store } = opened;
    const w = await rightsWorld(store, opened.clock);
    const rights = [w.rights.authority, w.rights.agent];
    const all = Array.from({ length: 60 }, () => intent({ authorityId: w.authorityId }));
    await store.issuance.recordIntents(all);
    let banned = false;
    const states = await Promise.all(
      all.map(async (one, index) => {
        if (index === 30)
          await store.agents
            .setState(agentId, 'banned', 'stolen', event('agent.banned'))
            .then(() => (banned = true));
        const startedAfter = banned;
        const [outcome] = await store.issuance.finish([signed(one, rights)]);
        if (startedAfter) assert.equal(outcome?.state, 'withheld');
        return outcome?.state;
      }),
    );
    const records = await store.audit.list({}, { size: 1000 });
    const ban = records.items.findIndex(({ kind }) => kind === 'agent.banned');
    const issuedAfter = records.items
      .slice(ban)
      .filter(({ kind }) => kind === 'certificate.issued');
    assert.equal(issuedAfter.length, 0);
    assert.equal(states.length, 60);
    assert.equal(states[30], 'withheld');
  });
}
