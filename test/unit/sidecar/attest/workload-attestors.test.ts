import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger, systemClock } from '../../../../src/common/runtime/index.ts';
import { workloadAttestorTypes } from '../../../../sidecar/attest/index.ts';
import { OverflowIds } from '../../../../sidecar/attest/overflow-ids.ts';
import type { Peer } from '../../../../sidecar/attest/peer.ts';
import type { Proc } from '../../../../sidecar/attest/proc.ts';
import {
  workloadAttestorType,
  type ProcessEvidence,
  type WorkloadAttestorType,
} from '../../../../sidecar/attest/workload-attestor.ts';
import { WorkloadAttestors } from '../../../../sidecar/attest/workload-attestors.ts';

const proc: Proc = { read: () => undefined, link: () => undefined };
const peer: Peer = {
  pid: 50,
  uid: 7,
  gid: 7,
  groups: [],
  pidfd: 9,
  hold: { open: true },
  pinned: true,
  image: { startTime: '1', token: '2' },
  [Symbol.dispose]() {},
};
const process: ProcessEvidence = {
  peer,
  status: { uids: [7, 7, 7, 7], gids: [7, 7, 7, 7], groups: [] },
  cgroup: { path: '/pod/7', limitKey: '/pod/7' },
};

/** Tells the pod of a process by its cgroup, and its labels after a longer look. */
const pods = (selectorType = 'pod'): WorkloadAttestorType =>
  workloadAttestorType({
    type: 'pods',
    selectorTypes: ['pod'],
    configuration: z.strictObject({ cluster: z.string() }).optional(),
    create(configuration) {
      if (configuration === undefined) return undefined;
      let label: string | undefined;
      return {
        start: ({ cgroup }) => ({
          selectors: [
            { type: selectorType, value: `${configuration.cluster}${cgroup.path ?? ''}` },
            ...(label === undefined ? [] : [{ type: 'pod', value: `label:${label}` }]),
          ],
          costlyPrefixes: label === undefined ? ['pod:label'] : [],
          gather: () => Promise.resolve(() => void (label = 'web')),
        }),
        [Symbol.dispose]() {},
      };
    },
  });

const attestorsOf = (
  types: readonly WorkloadAttestorType[],
  configuration: Readonly<Record<string, unknown>>,
): WorkloadAttestors =>
  new WorkloadAttestors(types, configuration, {
    clock: systemClock,
    logger: silentLogger,
    proc,
    overflow: new OverflowIds(
      { overflowId: 65_534, map: '' },
      { overflowId: 65_534, map: '' },
      proc,
    ),
  });
const texts = (attestors: WorkloadAttestors): readonly string[] =>
  attestors.start(process).selectors.map(({ type, value }) => `${type}:${value}`);

test('an added type of workload attestation gives its selectors beside those of unix', () => {
  using attestors = attestorsOf([...workloadAttestorTypes, pods()], { pods: { cluster: 'east' } });
  assert.ok(texts(attestors).includes('unix:uid:7'));
  assert.ok(texts(attestors).includes('pod:east/pod/7'));
  assert.equal(texts(attestors).at(-1), 'peer:pinned');
});

test('a type that is not configured gives nothing', () => {
  using attestors = attestorsOf([pods()], {});
  assert.deepEqual(texts(attestors), ['peer:pinned']);
});

test('a longer look is taken by its own type, and counts once the core has kept it', async () => {
  using attestors = attestorsOf([pods()], { pods: { cluster: 'east' } });
  const facts = attestors.start(process);
  assert.deepEqual(facts.costlyPrefixes, ['pod:label']);
  (await facts.gather(new Set(['unix:sha256'])))();
  assert.ok(!texts(attestors).includes('pod:label:web'), 'the look of another type');
  const keep = await facts.gather(new Set(['pod:label']));
  assert.ok(!texts(attestors).includes('pod:label:web'), 'not kept yet');
  keep();
  assert.ok(texts(attestors).includes('pod:label:web'));
});

test('a type gives no selectors of another type or of the core, and two types share none', () => {
  for (const foreign of ['unix', 'peer', 'systemd', 'target']) {
    using attestors = attestorsOf([pods(foreign)], { pods: { cluster: 'east' } });
    assert.throws(
      () => attestors.start(process),
      (error: unknown) => error instanceof PkiError && error.code === 'INTERNAL',
    );
  }
  const rival = { ...pods(), type: 'rival', selectorTypes: ['unix'] };
  assert.throws(() => attestorsOf([...workloadAttestorTypes, rival], {}), /claim a selector twice/);
  for (const selectorType of ['peer', 'target']) {
    const core = { ...pods(), selectorTypes: [selectorType] };
    assert.throws(() => attestorsOf([core], {}), /claim a selector twice/);
  }
});
