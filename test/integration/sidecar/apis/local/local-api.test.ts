import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { test } from 'node:test';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import { runCli } from '../../../../../src/cli/program.ts';
import type { CliContext } from '../../../../../src/cli/context.ts';
import { PkiError } from '../../../../../src/common/errors/index.ts';
import { systemClock } from '../../../../../src/common/runtime/index.ts';
import { SpiffeId } from '../../../../../src/common/spiffe/index.ts';
import { agentContract, fromServiceError } from '../../../../../src/common/wire/index.ts';
import type { AgentStatus__Output } from '../../../../../src/common/wire/generated/meshca/agent/v1/AgentStatus.ts';
import type { ExplainRequest } from '../../../../../src/common/wire/generated/meshca/agent/v1/ExplainRequest.ts';
import type { Explanation__Output } from '../../../../../src/common/wire/generated/meshca/agent/v1/Explanation.ts';
import type { Standing } from '../../../../../sidecar/ports/svids.ts';
import { localApi, localApiLimits } from '../../../../../sidecar/apis/local/index.ts';
import { testContext } from '../../../../support/command.ts';
import { withoutTargets } from '../../../../support/without-targets.ts';
import { silentMetrics, startLocalServer } from '../../../../../sidecar/local-server/index.ts';
import { bundleOf, entryOf } from '../../../../support/local-server-fakes.ts';
import { collect, header, speak, startHarness, type Harness } from '../../local-server/support.ts';
import { until } from '../../../../support/until.ts';

const sdsName = (id: string): string => `sds ${SpiffeId.of(id).path}`;

async function startLocal(
  harness: Harness,
  {
    mode = 0o600,
    allowedUids = [] as readonly number[],
    standing = { kind: 'held', notAfter: 2_000_000_000 } as Standing,
  } = {},
) {
  const path = join(harness.folder, 'local.sock');
  const { attestor, entries, refusals } = harness;
  const api = await startLocalServer({
    ...harness.serverParts,
    socket: { path, mode },
    apis: [
      localApi({
        allowedUids,
        status: () => ({ spiffeId: 'spiffe://td.test/meshca/agent/n', ready: true }),
        attestor,
        entries,
        refusals,
        standing: () => standing,
        secretNames: (identities) => identities.map(({ spiffeId }) => `sds ${spiffeId.path}`),
        targets: withoutTargets,
        foreign: {
          federated: () => harness.bundles.federated(),
          federatedProblems: () => new Map([['late.test', 'it is broken']]),
        },
        clock: systemClock,
      }),
    ],
    metrics: silentMetrics,
    limits: localApiLimits,
  });
  const client = new (agentContract().packages.meshca.agent.v1.AgentLocal)(
    `unix:${path}`,
    credentials.createInsecure(),
  );
  return {
    path,
    status: () =>
      promisify((callback: (error: ServiceError | null, value?: AgentStatus__Output) => void) =>
        client.GetStatus({}, callback),
      )() as Promise<AgentStatus__Output>,
    explain: (request: ExplainRequest) =>
      promisify(
        (
          argument: ExplainRequest,
          callback: (error: ServiceError | null, value?: Explanation__Output) => void,
        ) => client.Explain(argument, callback),
      )(request) as Promise<Explanation__Output>,
    async [Symbol.asyncDispose]() {
      client.close();
      await api.drain(50);
    },
  };
}

test('root reads the status over a socket that only its owner may open', async () => {
  await using harness = await startHarness();
  await using local = await startLocal(harness);
  assert.equal((await stat(local.path)).mode & 0o777, 0o600);
  const status = await local.status();
  assert.deepEqual([status.spiffeId, status.ready], ['spiffe://td.test/meshca/agent/n', true]);
});

test('explain by refusal ID tells what the caller was not told: the nearest entries and what each missed', async () => {
  await using harness = await startHarness();
  await using local = await startLocal(harness);
  harness.entries.set(
    entryOf('near', 'spiffe://td.test/near', ['unix:uid:0', 'unix:path:/opt/near']),
  );
  const error = await collect(harness.client().FetchX509SVID({}, header())).error();
  const refusalId = String(fromServiceError(error).detail['refusalId']);
  const explained = await local.explain({ refusalId });
  assert.deepEqual(
    [explained.pid, explained.code, explained.granted, explained.refusalId],
    [process.pid, 'NO_IDENTITY', false, refusalId],
  );
  assert.deepEqual(explained.nearMisses, [
    {
      entryId: 'near',
      spiffeId: 'spiffe://td.test/near',
      matched: ['unix:uid:0'],
      missed: ['unix:path:/opt/near'],
    },
  ]);
  assert.ok(explained.selectors.includes('peer:pinned'));
  await assert.rejects(
    local.explain({ refusalId: 'unknown' }),
    (thrown: ServiceError) => fromServiceError(thrown).code === 'NOT_FOUND',
  );
});

test('explain by pid attests the process, hash included, and says what it is granted', async () => {
  await using harness = await startHarness();
  await using local = await startLocal(harness);
  harness.entries.set(entryOf('a', 'spiffe://td.test/app', ['unix:uid:23456']));
  const actor = await harness.actor();
  await actor.become(23_456);
  const explained = await local.explain({ pid: actor.pid });
  assert.deepEqual(explained.secretNames, explained.grantedSpiffeIds.map(sdsName));
  assert.deepEqual(
    [explained.granted, explained.grantedSpiffeIds, explained.code],
    [true, ['spiffe://td.test/app'], ''],
  );
  assert.ok(explained.selectors.some((each) => each.startsWith('unix:sha256:')));
  const mixed = await harness.actor();
  await mixed.becomeMixed(23_456);
  assert.equal((await local.explain({ pid: mixed.pid })).code, 'PEER_UNVERIFIABLE');
  for (const request of [{}, { pid: 0 }, { pid: -1 }])
    await assert.rejects(
      local.explain(request),
      (thrown: ServiceError) => fromServiceError(thrown).code === 'INVALID_REQUEST',
    );
});

test('explain tells of each foreign trust domain whether the process gets its bundle, and why not', async () => {
  await using harness = await startHarness();
  await using local = await startLocal(harness);
  harness.bundles.set(harness.bundles.own, [
    bundleOf('a.test', 7, '{"keys":[{"kid":"1"}]}'),
    bundleOf('other.test'),
  ]);
  harness.entries.set(
    entryOf('e', 'spiffe://td.test/app', [`unix:uid:${process.getuid?.() ?? 0}`], {
      federatesWith: ['a.test', 'late.test', 'missing.test'],
    }),
  );
  const { foreignTrust } = await local.explain({ pid: process.pid });
  assert.deepEqual(
    foreignTrust.map(({ trustDomain, granted, entryIds }) => [trustDomain, granted, entryIds]),
    [
      ['a.test', true, ['e']],
      ['late.test', false, ['e']],
      ['missing.test', false, ['e']],
      ['other.test', false, []],
    ],
  );
  const [given, late, missing, other] = foreignTrust;
  assert.deepEqual(
    [given?.sequence, given?.x509Authorities, given?.jwtAuthorities, given?.reason],
    [7, 1, 1, ''],
  );
  assert.match(late?.reason ?? '', /not taken: it is broken/);
  assert.match(missing?.reason ?? '', /the server has sent no bundle/);
  assert.match(other?.reason ?? '', /no entry of it names/);
  const { context, seen } = testContext({
    terminal: { isTerminal: false, columns: 300, color: false },
  });
  assert.equal(
    await runCli(['explain', '--pid', String(process.pid), '--socket', local.path], context),
    0,
    seen.err,
  );
  const [, shown = ''] = seen.out.split('Foreign trust domains:\n');
  assert.match(shown, /^TRUST DOMAIN +BUNDLE +ROOTS +JWT KEYS +ENTRIES +REASON\n/);
  assert.match(shown, /^a\.test +sequence 7 +1 +1 +e +-$/m);
  assert.match(shown, /^missing\.test +none +- +- +e +the server has sent no bundle/m);
});

test('explain by pid does not promise what the server refuses: code, reason and refusal ID are told', async () => {
  await using harness = await startHarness();
  const error = new PkiError('INVALID_REQUEST', 'no CRL distribution point', {
    detail: { refusalId: 'r-1' },
  });
  await using local = await startLocal(harness, { standing: { kind: 'refused', error } });
  harness.entries.set(entryOf('a', 'spiffe://td.test/app', ['unix:uid:23456']));
  const actor = await harness.actor();
  await actor.become(23_456);
  const explained = await local.explain({ pid: actor.pid });
  assert.deepEqual(
    [explained.granted, explained.grantedSpiffeIds, explained.code, explained.refusalId],
    [false, [], 'INVALID_REQUEST', 'r-1'],
  );
  assert.match(explained.message, /app: INVALID_REQUEST: no CRL distribution point/);
});

test('a refusal of the server has one ID, for the caller and for explain', async () => {
  await using harness = await startHarness();
  await using local = await startLocal(harness);
  harness.entries.set(entryOf('a', 'spiffe://td.test/app', [`unix:uid:${process.getuid?.()}`]));
  const refusal = new PkiError('INVALID_REQUEST', 'no', { detail: { refusalId: 'r-2' } });
  harness.svids.signing = Promise.reject(refusal);
  harness.svids.signing.catch(() => {});
  const error = await collect(harness.client().FetchX509SVID({}, header())).error();
  assert.equal(fromServiceError(error).detail['refusalId'], 'r-2');
  const explained = await local.explain({ refusalId: 'r-2' });
  assert.deepEqual(
    [explained.granted, explained.code, explained.pid],
    [false, 'INVALID_REQUEST', process.pid],
  );
});

test('explain of a process that does not exist is refused, at the command line with exit code 3', async () => {
  await using harness = await startHarness();
  await using local = await startLocal(harness);
  // above the highest pid that Linux gives
  const pid = 2 ** 22 + 5;
  await assert.rejects(
    local.explain({ pid }),
    (thrown: ServiceError) => fromServiceError(thrown).code === 'NOT_FOUND',
  );
  let errors = '';
  const context: CliContext = {
    env: {},
    out: () => {},
    err: (text) => (errors += text),
    readStdin: async () => '',
    ask: async () => undefined,
    terminal: { isTerminal: false, columns: 80, color: false },
    signal: new AbortController().signal,
    now: () => systemClock.now(),
    dependencies: {} as CliContext['dependencies'],
  };
  assert.equal(
    await runCli(['explain', '--pid', String(pid), '--socket', local.path, '--json'], context),
    3,
  );
  assert.equal((JSON.parse(errors) as { error: { code: string } }).error.code, 'NOT_FOUND');
});

test("only root, the agent's user and configured users are admitted, whatever the socket's mode", async () => {
  await using harness = await startHarness();
  await using local = await startLocal(harness, { mode: 0o777, allowedUids: [34_567] });
  const call = async (uid: number): Promise<string> => {
    const actor = await harness.actor();
    await actor.become(uid);
    const { session } = speak(await actor.connect(local.path));
    const request = session.request({
      ':method': 'POST',
      ':path': '/meshca.agent.v1.AgentLocal/GetStatus',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let code: unknown;
    for (const event of ['response', 'trailers'])
      request.on(
        event,
        (headers: Record<string, unknown>) => (code = headers['meshca-code'] ?? code),
      );
    request.resume();
    request.end(Buffer.alloc(5));
    await until(() => request.closed);
    session.destroy();
    return String(code ?? 'OK');
  };
  assert.equal(await call(23_456), 'CALLER_NOT_ADMITTED');
  assert.equal(await call(34_567), 'OK');
});
