import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCli } from '../../../src/cli/program.ts';
import { testContext } from '../../support/command.ts';
import { FakeWorkloadApi } from '../../support/fake-workload-api.ts';
import { entryOf } from '../../support/local-server-fakes.ts';
import { createIntermediate, createRoot, createSvid } from '../../support/test-pki.ts';
import { until } from '../../support/until.ts';
import { startHarness, type Harness } from '../sidecar/local-server/support.ts';

const spiffeId = 'spiffe://td.test/app';

async function workloadSocket(): Promise<Harness> {
  const harness = await startHarness();
  harness.entries.set(entryOf('a', spiffeId, [`unix:uid:${process.getuid?.() ?? 0}`]));
  return harness;
}

async function api(
  { path }: { readonly path: string },
  args: readonly string[],
  signal: AbortSignal = new AbortController().signal,
): Promise<string> {
  const { context, seen } = testContext({ signal });
  const code = await runCli(['agent', 'api', ...args, '--socket', path], context);
  assert.equal(code, signal.aborted ? 130 : 0, seen.err);
  return seen.out;
}

const says = (harness: Harness): readonly string[] =>
  harness.consumers.reports.filter((each) => each === 'keeps-nothing');

test('agent api fetch shows the identity and tells the agent that it keeps nothing', async () => {
  await using harness = await workloadSocket();
  assert.match(await api(harness, ['fetch']), /spiffe:\/\/td\.test\/app/);
  assert.equal(says(harness).length, 1);
});

test('agent api fetch --write says how long its files count, whichever agent gave them', async () => {
  const root = createRoot('td.test');
  const svid = createSvid(createIntermediate(root, 'td.test'), spiffeId);
  await using agent = await FakeWorkloadApi.start();
  agent.setX509({ svids: [{ ...svid, bundleDer: [root.certificateDer] }] });
  const at = { path: agent.socketPath };
  assert.doesNotMatch(await api(at, ['fetch']), /kept/, 'an agent of others knows no reports');
  const folder = await mkdtemp(join(tmpdir(), 'meshca-fetch-'));
  try {
    assert.match(await api(at, ['fetch', '--write', folder]), /kept in files until \d{4}-/);
    assert.deepEqual((await readdir(folder)).sort(), ['bundle.0.pem', 'svid.0.key', 'svid.0.pem']);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('agent api watch tells after each update that it keeps nothing, before it is interrupted', async () => {
  await using harness = await workloadSocket();
  const abort = new AbortController();
  const ended = api(harness, ['watch'], abort.signal);
  await until(() => says(harness).length === 1);
  abort.abort();
  assert.match(await ended, /spiffe:\/\/td\.test\/app/);
});
