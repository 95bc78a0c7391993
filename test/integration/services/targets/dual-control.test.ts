import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { runCommand } from '../../../support/command.ts';
import { startDualWorld, switchOn, type DualWorld } from '../../../support/dual-control.ts';
import { SimAgent, simServer } from '../../../support/sim-agent.ts';
import { until } from '../../../support/until.ts';

const stack = new AsyncDisposableStack();
let w: DualWorld;
let agent: SimAgent;
before(async () => {
  w = stack.use(await startDualWorld());
  agent = stack.use(await SimAgent.join(simServer(w.server), 'edge'));
  agent.targets.add('web', undefined, 'hand');
  unwrap(await agent.targets.stage('web'));
  agent.targets.asked.length = 0;
  await until(
    async () => (await w.server.admin('Targets/ListTargets')).targets[0]?.state === 'staged',
    'it is told',
  );
  await switchOn(w);
});
after(() => stack.disposeAsync());

const web = (): { readonly agentId: string; readonly target: string } => ({
  ...{ agentId: agent.credential.spiffeId, target: 'web' },
});

test('to serve a staged set waits for approval, and is done when it is approved', async () => {
  const id = await w.held(w.server.admin('Targets/PromoteTargets', web()));
  assert.deepEqual(agent.targets.asked, []);
  const { explanation } = await w.server.admin('Approvals/GetOperation', { id });
  assert.match(explanation.join('\n'), /serve what is staged: the target "web" of spiffe:.*\/edge/);
  const { operation } = await w.approve(id, w.keys.bob, w.keys.carol);
  assert.equal(operation?.status, 'executed');
  assert.deepEqual(agent.targets.asked, ['promote web']);
  const held = await w.held(w.server.admin('Targets/PromoteTargets', { group: 'edge' }));
  assert.notEqual(held, id);
});

test('to stage and to take back does not wait: an emergency has no time', async () => {
  agent.targets.asked.length = 0;
  await w.server.admin('Targets/RollBackTargets', web());
  await w.server.admin('Targets/StageTargets', web());
  assert.deepEqual(agent.targets.asked, ['rollback web', 'stage web']);
  const { code, err } = await runCommand(w.server, ['set', 'promote', 'web']);
  assert.deepEqual([code, /APPROVAL_REQUIRED/.test(err)], [7, true]);
  assert.deepEqual(agent.targets.asked.length, 2);
});
