import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { ConsumerRecord, JoinToken } from '../../../src/domain/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import { until } from '../../support/until.ts';
import {
  agentId,
  attested,
  code,
  digest,
  event,
  everyPage,
  joinToken,
  start,
  type OpenStore,
} from './fixtures.ts';

const consumer = (id: string, changes: Partial<ConsumerRecord> = {}): ConsumerRecord => ({
  agentId,
  id,
  kind: 'workload-stream',
  spiffeId: 'spiffe://example.org/web',
  authoritySetDigest: digest(),
  jwtSetDigest: digest(),
  issuerSetDigest: '',
  capabilities: ['enforces-crl'],
  state: 'confirmed',
  reason: '',
  since: start,
  description: 'pid 1',
  ...changes,
});

const bind = (
  { tokens }: Ledger,
  id: string,
  publicKeySha256: string,
  now: number,
): Promise<JoinToken> => tokens.bind(id, { publicKeySha256, now }, event('token.bound', id));

export function agentCases(name: string, open: OpenStore): void {
  test(`${name}: each attestation starts a generation, a renewal keeps it, and an old session can do neither`, async () => {
    await using opened = await open();
    const { store } = opened;
    const first = await store.agents.record({
      agent: attested(),
      act: 'attest',
      event: event('agent.attested', agentId),
    });
    assert.deepEqual([first.generation, first.state, first.lastSeenAt], [1, 'active', start]);
    const again = attested({ spkiDer: Buffer.from('other key') });
    assert.equal(
      (await store.agents.record({ agent: again, act: 'attest', event: event('agent.attested') }))
        .generation,
      2,
    );
    await assert.rejects(
      store.agents.record({
        agent: attested(),
        act: 'renew',
        generation: 1,
        event: event('agent.renewed'),
      }),
      code('AGENT_SUPERSEDED'),
    );
    await assert.rejects(
      store.agents.record({
        agent: attested(),
        act: 'recover',
        generation: 1,
        event: event('agent.recovered'),
      }),
      code('AGENT_SUPERSEDED'),
    );
    await assert.rejects(
      store.agents.record({ agent: attested(), act: 'renew', event: event('agent.renewed') }),
      code('AGENT_SUPERSEDED'),
    );
    assert.equal((await store.agents.byId(agentId))?.serial, again.serial);
    const renewed = await store.agents.record({
      agent: attested({ renewedAt: start + 60 }),
      act: 'renew',
      generation: 2,
      renewed: again.serial,
      event: event('agent.renewed'),
    });
    assert.deepEqual([renewed.generation, renewed.lastSeenAt], [2, start + 60]);
    assert.equal(
      (
        await store.agents.record({
          agent: attested(),
          act: 'recover',
          generation: 2,
          recovered: renewed.serial,
          event: event('agent.recovered'),
        })
      ).generation,
      3,
    );
    const unknown = attested({ spiffeId: 'spiffe://example.org/meshca/agent/unknown' });
    await assert.rejects(
      store.agents.record({
        agent: unknown,
        act: 'renew',
        generation: 1,
        event: event('agent.renewed'),
      }),
      code('NOT_FOUND'),
    );
  });

  test(`${name}: the first use of an SVID and what is kept are recorded once, and survive`, async () => {
    await using opened = await open();
    const { store } = opened;
    const first = attested();
    const next = attested();
    await store.agents.record({ agent: first, act: 'attest', event: event('agent.attested') });
    const use = (serial: string, kept: string | null) =>
      store.agents.use({ spiffeId: agentId, generation: 1, serial, kept, timeMs: 1 });
    await use(first.serial, first.serial);
    await store.agents.record({
      agent: next,
      act: 'renew',
      generation: 1,
      renewed: first.serial,
      event: event('agent.renewed'),
    });
    assert.equal((await use(next.serial, null)).line.kept, first.serial);
    const { before, line } = await use(next.serial, next.serial);
    assert.deepEqual(
      [before.kept, line.kept, line.inUse],
      [first.serial, next.serial, next.serial],
    );
    await use(next.serial, next.serial);
    await assert.rejects(use(first.serial, first.serial), code('AGENT_SUPERSEDED'));
    await assert.rejects(
      store.agents.use({
        spiffeId: agentId,
        generation: 2,
        serial: next.serial,
        kept: null,
        timeMs: 1,
      }),
      code('AGENT_SUPERSEDED'),
    );
    const { items } = await store.audit.list({ subject: agentId }, { size: 50 });
    assert.deepEqual(
      items.map(({ kind }) => kind).filter((kind) => kind.startsWith('agent.')),
      ['agent.line', 'agent.first-use', 'agent.line', 'agent.first-use', 'agent.kept'],
    );
    const again = await opened.reopen();
    const agent = await again.store.agents.byId(agentId);
    assert.deepEqual(
      await again.store.agents.lineOf(again.store.objects.require('agent', agent!)),
      line,
    );
    await again.store.close();
  });

  test(`${name}: uses and renewals of one agent that share a commit are judged one after another`, async () => {
    await using opened = await open();
    const { store } = opened;
    const first = attested();
    await store.agents.record({ agent: first, act: 'attest', event: event('agent.attested') });
    const use = (serial: string) =>
      store.agents.use({ spiffeId: agentId, generation: 1, serial, kept: serial, timeMs: 1 });
    const next = attested();
    const outcomes = await Promise.allSettled([
      use(first.serial),
      store.agents.record({
        agent: next,
        act: 'renew',
        generation: 1,
        renewed: first.serial,
        event: event('agent.renewed'),
      }),
    ]);
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'fulfilled'],
    );
    const uses = await Promise.allSettled([use(next.serial), use(first.serial)]);
    assert.deepEqual(
      uses.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
  });

  test(`${name}: a banned agent can do nothing; an evicted one can only attest anew, in a new generation`, async () => {
    await using opened = await open();
    const { store } = opened;
    await store.agents.record({ agent: attested(), act: 'attest', event: event('agent.attested') });
    const { revision } = await store.meta.position();
    const banned = await store.agents.setState(
      agentId,
      'banned',
      'stolen',
      event('agent.banned', agentId),
    );
    assert.deepEqual(
      [banned.state, banned.stateReason, banned.generation],
      ['banned', 'stolen', 2],
    );
    assert.equal((await store.meta.position()).revision, revision + 1);
    for (const act of ['attest', 'recover', 'renew'] as const) {
      await assert.rejects(
        store.agents.record({
          agent: attested(),
          act,
          generation: 2,
          event: event('agent.attested'),
        }),
        code('AGENT_BANNED'),
      );
    }
    await store.agents.setState(agentId, 'evicted', 'new disk', event('agent.evicted', agentId));
    for (const act of ['recover', 'renew'] as const) {
      await assert.rejects(
        store.agents.record({
          agent: attested(),
          act,
          generation: 3,
          event: event('agent.attested'),
        }),
        code('AGENT_EVICTED'),
      );
    }
    const back = await store.agents.record({
      agent: attested(),
      act: 'attest',
      event: event('agent.attested'),
    });
    assert.deepEqual([back.state, back.stateReason, back.generation], ['active', '', 4]);
    await assert.rejects(
      store.agents.setState(
        'spiffe://example.org/meshca/agent/none',
        'banned',
        '',
        event('agent.banned'),
      ),
      code('NOT_FOUND'),
    );
  });

  test(`${name}: agents are listed in pages and by state`, async () => {
    await using opened = await open();
    const { store } = opened;
    const ids = Array.from(
      { length: 7 },
      (_, index) => `spiffe://example.org/meshca/agent/n${index}`,
    );
    for (const spiffeId of ids)
      await store.agents.record({
        agent: attested({ spiffeId }),
        act: 'attest',
        event: event('agent.attested'),
      });
    await store.agents.setState(ids[3]!, 'banned', 'x', event('agent.banned'));
    assert.deepEqual(
      (await everyPage((page) => store.agents.list({}, page), 2)).map(({ spiffeId }) => spiffeId),
      ids,
    );
    assert.deepEqual(
      (await everyPage((page) => store.agents.list({ state: 'banned' }, page), 2)).map(
        ({ spiffeId }) => spiffeId,
      ),
      [ids[3]],
    );
  });

  test(`${name}: a sighting shows at once, is written within a second and at close, and never goes back`, async () => {
    await using first = await open();
    await first.store.agents.record({
      agent: attested(),
      act: 'attest',
      event: event('agent.attested'),
    });
    first.store.agents.seen(agentId, {
      at: start + 9,
      version: '0.2.0',
      survivedOutageSeconds: 1200,
    });
    first.store.agents.seen(agentId, { at: start + 5 });
    first.store.agents.seen('spiffe://example.org/meshca/agent/unknown', { at: start });
    const shown = await first.store.agents.byId(agentId);
    assert.deepEqual(
      [shown?.lastSeenAt, shown?.version, shown?.survivedOutageSeconds],
      [start + 9, '0.2.0', 1200],
    );
    await until(() => !first.clock.waits(1_000), 'what is due within a second is done');
    first.store.agents.seen(agentId, { at: start + 11 });
    const second = await first.reopen();
    const kept = await second.store.agents.byId(agentId);
    assert.deepEqual(
      [kept?.lastSeenAt, kept?.version, kept?.survivedOutageSeconds],
      [start + 11, '0.2.0', 1200],
    );
    await second.store.close();
  });

  test(`${name}: the line of an agent is what was renewed into its newest SVID, in this session alone`, async () => {
    await using opened = await open();
    const { store } = opened;
    const serials = Array.from({ length: 12 }, () => attested().serial);
    const record = async (act: 'attest' | 'renew', serial: string, renewed?: string) => {
      const generation = (await store.agents.byId(agentId))?.generation;
      return store.agents.record({
        agent: attested({ serial }),
        act,
        event: event(`agent.${act}`),
        ...(generation === undefined ? {} : { generation }),
        ...(renewed === undefined ? {} : { renewed }),
      });
    };
    const use = (serial: string) =>
      store.agents.use({ spiffeId: agentId, generation: 1, serial, kept: serial, timeMs: 1 });
    await record('attest', serials[0]!);
    for (let at = 1; at < 11; at += 1) await record('renew', serials[at]!, serials[at - 1]!);
    // an older one of the line renews, and what it led to is used: its sibling counts no more
    await record('renew', serials[11]!, serials[8]!);
    await use(serials[11]!);
    const agent = await store.agents.byId(agentId);
    assert.deepEqual((await store.agents.lineOf(store.objects.require('agent', agent!))).svids, [
      { serial: serials[11], renewed: serials[8] },
    ]);
    await assert.rejects(
      record('renew', attested().serial, serials[10]!),
      code('AGENT_SUPERSEDED'),
      'a sibling that lost',
    );
    await record('attest', serials[1]!);
    await assert.rejects(
      record('renew', attested().serial, serials[11]!),
      code('AGENT_SUPERSEDED'),
      'of an earlier session',
    );
  });

  test(`${name}: consumers of an agent are replaced and updated under its own name only`, async () => {
    await using opened = await open();
    const { store } = opened;
    await assert.rejects(
      store.agents.replaceConsumers(agentId, [consumer('a')]),
      code('NOT_FOUND'),
    );
    await store.agents.record({ agent: attested(), act: 'attest', event: event('agent.attested') });
    const [a, b] = [consumer('a'), consumer('b')];
    await store.agents.replaceConsumers(agentId, [a, b]);
    assert.deepEqual(await store.agents.consumers(agentId), [
      { ...a, heardAt: start },
      { ...b, heardAt: start },
    ]);
    const refused = consumer('b', { state: 'refused', reason: 'bad root' });
    await store.agents.updateConsumers(
      agentId,
      [refused, consumer('c', { agentId: 'spiffe://example.org/meshca/agent/victim' })],
      ['a', 'never'],
    );
    assert.deepEqual(
      (await store.agents.consumers(agentId)).map(({ id, state, agentId: owner }) => [
        id,
        state,
        owner,
      ]),
      [
        ['b', 'refused', agentId],
        ['c', 'confirmed', agentId],
      ],
    );
    await store.agents.replaceConsumers(agentId, []);
    assert.deepEqual(await store.agents.consumers(agentId), []);
  });

  test(`${name}: a join token is bound to the first key, whoever comes together, and expires`, async () => {
    await using opened = await open();
    const { store } = opened;
    const token = joinToken();
    await store.tokens.create(token, event('token.created', token.id));
    await assert.rejects(
      store.tokens.create(joinToken({ tokenSha256: token.tokenSha256 }), event('token.created')),
      code('ALREADY_EXISTS'),
    );
    assert.deepEqual(await store.tokens.byHash(token.tokenSha256), token);
    assert.equal(await store.tokens.byHash(digest()), undefined);
    const keys = Array.from({ length: 10 }, digest);
    const bound = await Promise.all(keys.map((key) => bind(store, token.id, key, start)));
    assert.deepEqual(
      new Set(bound.map(({ boundPublicKeySha256 }) => boundPublicKeySha256)),
      new Set([keys[0]]),
    );
    await assert.rejects(bind(store, token.id, keys[0]!, start + 600), code('JOIN_TOKEN_INVALID'));
    await assert.rejects(bind(store, 'none', keys[0]!, start), code('NOT_FOUND'));
    assert.deepEqual(
      (await everyPage((page) => store.tokens.list(page), 1)).map(({ id }) => id),
      [token.id],
    );
  });

  test(`${name}: each use of a join token is on record: the first key, and the certificate`, async () => {
    await using opened = await open();
    const { store } = opened;
    const token = joinToken();
    await store.tokens.create(token, event('token.created', token.id));
    const agent = attested();
    const key = createHash('sha256').update(agent.spkiDer).digest('hex');
    // together, so that they may share a transaction
    await Promise.all([
      bind(store, token.id, key, start),
      bind(store, token.id, key, start + 1),
      store.agents.record({
        agent,
        act: 'attest',
        tokenId: token.id,
        event: event('agent.attested', agentId),
      }),
    ]);
    const kinds = (await store.audit.list({}, { size: 50 })).items.map(({ kind }) => kind);
    assert.deepEqual(kinds.filter((kind) => kind.startsWith('token.')).sort(), [
      'token.bound',
      'token.created',
      'token.used',
    ]);
    const marked = {
      ...token,
      boundPublicKeySha256: key,
      usedAt: start,
      resultSerial: agent.serial,
    };
    assert.deepEqual(store.objects.require('join-token', marked), marked);
    for (const erased of [
      token,
      { ...marked, resultSerial: null },
      { ...marked, boundPublicKeySha256: null, usedAt: null },
    ])
      assert.throws(() => store.objects.require('join-token', erased), code('OBJECT_NOT_IN_LOG'));
  });

  test(`${name}: two writes of one transaction may follow each other on one object`, async () => {
    await using opened = await open();
    const { store } = opened;
    await store.agents.record({ agent: attested(), act: 'attest', event: event('agent.attested') });
    const [evicted, again, renewed] = await Promise.all([
      store.agents.setState(agentId, 'evicted', 'new disk', event('agent.evicted', agentId)),
      store.agents.record({
        agent: attested({ serial: 'aa' }),
        act: 'attest',
        event: event('agent.attested'),
      }),
      store.agents.record({
        agent: attested({ serial: 'bb' }),
        act: 'renew',
        generation: 3,
        renewed: 'aa',
        event: event('agent.renewed'),
      }),
    ]);
    assert.deepEqual([evicted.state, again.state, renewed.serial], ['evicted', 'active', 'bb']);
    const proven = store.objects.require('agent', renewed);
    assert.deepEqual(proven, renewed);
    assert.deepEqual((await store.agents.lineOf(proven)).svids, [
      { serial: 'aa', renewed: null },
      { serial: 'bb', renewed: 'aa' },
    ]);
  });

  test(`${name}: a join token that led to nothing is revoked for good, by an attestation under way too`, async () => {
    await using opened = await open();
    const { store } = opened;
    const [unused, underWay, used, expired] = [joinToken(), joinToken(), joinToken(), joinToken()];
    for (const token of [unused, underWay, used, expired])
      await store.tokens.create(token, event('token.created', token.id));
    const agent = attested();
    const key = createHash('sha256').update(agent.spkiDer).digest('hex');
    const attest = (tokenId: string) =>
      store.agents.record({ agent, act: 'attest', tokenId, event: event('agent.attested') });
    await bind(store, underWay.id, key, start);
    for (const token of [unused, underWay]) {
      const revoked = await store.tokens.revoke(token.id, start, event('token.revoked', token.id));
      assert.equal(revoked.expiresAt, 0);
      assert.deepEqual(
        [await store.tokens.byId(token.id), await store.tokens.byHash(token.tokenSha256)],
        [revoked, revoked],
      );
      // a clock that was set back brings nothing back
      for (const now of [start, start - 86_400])
        await assert.rejects(bind(store, token.id, key, now), code('JOIN_TOKEN_INVALID'));
      await assert.rejects(attest(token.id), code('JOIN_TOKEN_INVALID'));
      await assert.rejects(
        store.tokens.revoke(token.id, start, event('token.revoked')),
        code('CONFLICT'),
      );
    }
    assert.equal(await store.agents.byId(agentId), undefined);
    await bind(store, used.id, key, start);
    await attest(used.id);
    await assert.rejects(
      store.tokens.revoke(used.id, start, event('token.revoked')),
      code('CONFLICT'),
    );
    await assert.rejects(
      store.tokens.revoke(expired.id, start + 600, event('token.revoked')),
      code('CONFLICT'),
    );
    assert.deepEqual(await store.tokens.byId(expired.id), expired);
    await assert.rejects(
      store.tokens.revoke('none', start, event('token.revoked')),
      code('NOT_FOUND'),
    );
    assert.equal(await store.tokens.byId('none'), undefined);
  });

  test(`${name}: a token is awaited until it has led to an agent, was revoked or has expired`, async () => {
    await using opened = await open();
    const { store } = opened;
    const [used, revoked] = [joinToken(), joinToken()];
    const awaited = (madeUntil: number, now: number): Promise<boolean> =>
      store.tokens.isAwaited({ madeUntil, now, longestLifeSeconds: 3600 });
    assert.equal(await awaited(start, start), false);
    for (const token of [used, revoked])
      await store.tokens.create(token, event('token.created', token.id));
    assert.deepEqual(
      [await awaited(start, start + 599), await awaited(start - 1, start)],
      [true, false],
    );
    assert.equal(await awaited(start, start + 600), false);
    const agent = attested();
    const key = createHash('sha256').update(agent.spkiDer).digest('hex');
    await bind(store, used.id, key, start);
    await store.agents.record({
      agent,
      act: 'attest',
      tokenId: used.id,
      event: event('agent.attested'),
    });
    assert.equal(await awaited(start, start), true);
    await store.tokens.revoke(revoked.id, start, event('token.revoked', revoked.id));
    assert.equal(await awaited(start, start), false);
  });

  test(`${name}: the result of a token is set with the agent, once, for its agent and its key`, async () => {
    await using opened = await open();
    const { store } = opened;
    const token = joinToken();
    await store.tokens.create(token, event('token.created', token.id));
    const agent = attested();
    const key = createHash('sha256').update(agent.spkiDer).digest('hex');
    await bind(store, token.id, key, start);
    const attest = (changes: Parameters<typeof attested>[0]) =>
      store.agents.record({
        agent: { ...agent, ...changes },
        act: 'attest',
        tokenId: token.id,
        event: event('agent.attested'),
      });
    await assert.rejects(
      attest({ spkiDer: Buffer.from('another key') }),
      code('JOIN_TOKEN_INVALID'),
    );
    await assert.rejects(
      attest({ spiffeId: 'spiffe://example.org/meshca/agent/other' }),
      code('JOIN_TOKEN_INVALID'),
    );
    assert.equal(
      await store.agents.byId(agentId),
      undefined,
      'nothing of a refused attestation is left',
    );
    await attest({});
    const used = await store.tokens.byHash(token.tokenSha256);
    assert.deepEqual(
      [used?.resultSerial, used?.usedAt, used?.boundPublicKeySha256],
      [agent.serial, start, key],
    );
    await assert.rejects(attest({ serial: attested().serial }), code('CONFLICT'));
    assert.equal((await store.agents.byId(agentId))?.generation, 1);
  });
}
