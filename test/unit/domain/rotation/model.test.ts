import assert from 'node:assert/strict';
import { test } from 'node:test';
import { playHistory, type ModelOptions } from '../../../support/rotation-model.ts';

const histories = 10_000;

test('in 10,000 random histories no authority signs before proof, and none leaves with a valid leaf', () => {
  let activations = 0;
  let retired = 0;
  let crashes = 0;
  let [failures, passed] = [0, 0];
  for (let seed = 1; seed <= histories; seed += 1) {
    const result = playHistory({ seed, steps: 120 });
    assert.deepEqual(result.broken, [], `seed ${seed}`);
    activations += result.activations;
    retired += result.retired;
    crashes += result.crashes;
    failures += result.failures;
    passed += result.passed;
  }
  // a model in which nothing happens would prove nothing
  assert.ok(activations > histories, `${activations} activations`);
  assert.ok(retired > histories / 4, `${retired} retired`);
  assert.ok(crashes > histories, `${crashes} crashes`);
  assert.ok(failures > histories, `${failures} failures`);
  assert.ok(passed > histories / 10, `${passed} actions passed one that had failed`);
});

const mutations: Readonly<Record<string, NonNullable<ModelOptions['mutate']>>> = {
  'agents that are away do not count': {
    world: (world) => ({ ...world, agents: world.agents.filter(({ connected }) => connected) }),
  },
  'consumers do not count beside their agent': {
    world: (world) => ({
      ...world,
      consumers: world.consumers.filter(({ kind }) => kind === 'agent'),
    }),
  },
  'holders that report nothing do not count': {
    world: (world) => ({ ...world, unheld: new Map() }),
  },
  'readers that nobody sees get no time': {
    input: (input) => ({
      ...input,
      confirmations: new Map(
        [...input.confirmations].map(([id, each]) => [id, { ...each, unprovable: { until: 0 } }]),
      ),
    }),
  },
  'the expiry of leaves does not count': {
    input: (input) => ({
      ...input,
      authorities: input.authorities.map((facts) => ({ ...facts, lastExpiry: 0 })),
    }),
  },
  'leaves of a tainted authority do not count': {
    input: (input) => ({
      ...input,
      authorities: input.authorities.map((facts) => ({ ...facts, live: 0 })),
    }),
  },
  'a jump of the clock is not noticed': { input: (input) => ({ ...input, clock: 'believed' }) },
  'the authorities below a root do not count': {
    input: (input) => ({
      ...input,
      authorities: input.authorities.map((facts) => ({
        ...facts,
        lastExpiry: facts.authority.kind === 'root' ? 0 : facts.lastExpiry,
        authority: { ...facts.authority, parentId: null },
      })),
    }),
  },
};

for (const [name, mutate] of Object.entries(mutations)) {
  test(`the model notices when ${name}`, () => {
    for (let seed = 1; seed <= histories; seed += 1) {
      if (
        playHistory({ seed, steps: 120, mutate }).broken.some((text) => text.startsWith('promise'))
      )
        return;
    }
    assert.fail('no history broke a promise');
  });
}
