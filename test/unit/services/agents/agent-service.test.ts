import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import type { AuditEvent } from '../../../../src/domain/index.ts';
import { AgentDoubles } from '../../../../src/services/agents/agent-doubles.ts';
import { AgentService } from '../../../../src/services/agents/agent-service.ts';
import { FakeClock } from '../../../support/agent.ts';
import { local } from '../../../support/services-world.ts';

const agent = 'spiffe://td/meshca/agent/n1';

test('a decision for one of two agents that can not be recorded has no effect', async () => {
  const clock = new FakeClock();
  const disk = { full: false };
  const events: AuditEvent[] = [];
  const audit = {
    append: async (list: readonly AuditEvent[]) => {
      if (disk.full) throw new Error('the disk is full');
      events.push(...list);
    },
  };
  const doubles = new AgentDoubles({ audit, clock, logger: silentLogger, onDouble: () => {} });
  const hello = (id: string) =>
    doubles.hello(agent, { id, peer: '192.0.2.1:1', version: '1', serial: 'a' });
  await hello('x');
  await hello('y');
  await hello('x');
  const told: string[] = [];
  const service = new AgentService({
    ...{ audit, clock, doubles },
    access: { of: async () => ({ require: () => {}, permits: () => true }) },
    agents: { byId: async () => ({ spiffeId: agent }) },
    sessions: {
      isConnected: () => true,
      bundleRefusals: { of: () => undefined },
      keep: (_: string, id: string) => void told.push(id),
    },
    refusals: { refused: async () => '' },
    evidence: { revoked: async () => undefined },
  } as unknown as ConstructorParameters<typeof AgentService>[0]);
  const keep = () => service.keep(local, agent, { instanceId: 'y', reason: 'the right one' });

  disk.full = true;
  await assert.rejects(keep());
  assert.deepEqual(told, []);
  assert.ok(doubles.of(agent), 'nothing is settled');
  await hello('x');

  disk.full = false;
  await keep();
  assert.deepEqual(told, ['y']);
  assert.equal(events.at(-1)?.kind, 'agent.chosen');
  await assert.rejects(hello('x'), { code: 'AGENT_SUPERSEDED' });
});

test('a list of agents lets other callers in between two of them', async () => {
  let turns = 0;
  let ticking = true;
  const tick = (): void => {
    turns += 1;
    if (ticking) setImmediate(tick);
  };
  setImmediate(tick);
  const seen: number[] = [];
  const agents = ['n1', 'n2', 'n3'].map((name) => ({
    spiffeId: `spiffe://td/meshca/agent/${name}`,
  }));
  const service = new AgentService({
    access: { of: async () => ({ require: () => {}, permits: () => true }) },
    agents: { list: async () => ({ items: agents, next: '' }) },
    sessions: { isConnected: () => true, bundleRefusals: { of: () => undefined } },
    doubles: { of: () => undefined },
    refusals: { refused: async () => '' },
    evidence: { revoked: async () => void seen.push(turns) },
  } as unknown as ConstructorParameters<typeof AgentService>[0]);
  const { items } = await service.list(local, {}, { size: 10 });
  ticking = false;
  assert.deepEqual(
    items.map(({ spiffeId }) => spiffeId),
    agents.map(({ spiffeId }) => spiffeId),
  );
  assert.equal(new Set(seen).size, 3);
});
