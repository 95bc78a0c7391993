import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { SpiffeId } from '../../../../../src/common/spiffe/index.ts';
import { fromServiceError } from '../../../../../src/common/wire/index.ts';
import type { X509BundlesResponse__Output } from '../../../../../src/common/wire/generated/X509BundlesResponse.ts';
import type { X509SVIDResponse__Output } from '../../../../../src/common/wire/generated/X509SVIDResponse.ts';
import { defaultLimits } from '../../../../../sidecar/local-server/index.ts';
import { securityHeader, sourceContext } from '../../../../../src/workload/client.ts';
import { bundleOf, entryOf, LeapClock } from '../../../../support/local-server-fakes.ts';
import { collect, header, speak, startHarness, type Harness } from '../../local-server/support.ts';
import { nextTurn, until } from '../../../../support/until.ts';

const identityOf = (entry: ReturnType<typeof entryOf>) => ({
  entry,
  spiffeId: SpiffeId.of(entry.spiffeId),
});

const { stallMs } = defaultLimits;

/**
 * Resolves when a call that begins now was answered and its connection has ended: what others were
 * to be sent before it has been sent.
 */
async function answered(harness: Harness): Promise<void> {
  const connections = harness.api.connections();
  const client = harness.client();
  const stream = collect<X509BundlesResponse__Output>(client.FetchX509Bundles({}, header()));
  await stream.first();
  stream.cancel();
  client.close();
  await until(() => harness.api.connections() <= connections, 'its connection has ended');
}

async function turns(count: number): Promise<void> {
  for (let each = 0; each < count; each += 1) await nextTurn();
}

test('the first message comes at once with the full state: oldest entry first, unique hints, bundles', async () => {
  await using harness = await startHarness();
  const foreign = bundleOf('other.test');
  harness.bundles.set(harness.bundles.own, [foreign, bundleOf('third.test')]);
  harness.entries.set(
    entryOf('a', 'spiffe://td.test/first', ['unix:uid:0'], { hint: 'internal' }),
    entryOf('b', 'spiffe://td.test/second', ['unix:uid:0'], {
      hint: 'internal',
      federatesWith: ['missing.test', 'other.test'],
    }),
    entryOf('c', 'spiffe://td.test/not-mine', ['unix:uid:4711'], {
      federatesWith: ['third.test'],
    }),
  );
  const stream = collect<X509SVIDResponse__Output>(harness.client().FetchX509SVID({}, header()));
  const message = await stream.first();
  assert.deepEqual(
    message.svids.map((each) => [each.spiffeId, each.hint]),
    [
      ['spiffe://td.test/first', 'internal'],
      ['spiffe://td.test/second', ''],
    ],
  );
  assert.deepEqual(
    message.svids[0]?.bundle,
    Buffer.concat([...(harness.bundles.own?.rootsDer ?? [])]),
  );
  assert.equal(message.svids[0]?.x509Svid.length, 1300);
  assert.deepEqual(Object.keys(message.federatedBundles), ['spiffe://other.test']);
  assert.deepEqual(message.federatedBundles['spiffe://other.test'], foreign.rootsDer[0]);
  stream.cancel();
});

test('the default of a process stays over its streams, when an entry comes that would be the first', async () => {
  await using harness = await startHarness();
  const first = entryOf('b', 'spiffe://td.test/first', ['unix:uid:0']);
  const older = entryOf('a', 'spiffe://td.test/older', ['unix:uid:0']);
  const ids = async (): Promise<readonly string[]> => {
    const client = harness.client();
    const stream = collect<X509SVIDResponse__Output>(client.FetchX509SVID({}, header()));
    const { svids } = await stream.first();
    stream.cancel();
    client.close();
    return svids.map(({ spiffeId }) => spiffeId);
  };
  harness.entries.set(first);
  assert.deepEqual(await ids(), ['spiffe://td.test/first']);
  harness.entries.set(older, first);
  assert.deepEqual(await ids(), ['spiffe://td.test/first', 'spiffe://td.test/older']);
  harness.entries.set(older);
  assert.deepEqual(await ids(), ['spiffe://td.test/older']);
  harness.entries.set(older, first);
  assert.deepEqual(await ids(), ['spiffe://td.test/older', 'spiffe://td.test/first']);
});

test('a message that was read confirms the SVID and the roots, and the end of the stream releases all', async () => {
  await using harness = await startHarness();
  const entry = entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']);
  harness.entries.set(entry);
  const stream = collect<X509SVIDResponse__Output>(harness.client().FetchX509SVID({}, header()));
  await stream.first();
  await until(() => harness.svids.confirmed.length === 1);
  assert.deepEqual(
    harness.consumers.reports.map((each) => each.split(' ')[0]),
    ['pending', 'confirmed'],
  );
  const renewed = harness.svids.renew(identityOf(entry));
  await until(() => harness.svids.confirmed.includes(renewed.serial));
  assert.equal(harness.consumers.reports.length, 2, 'a renewal alone is no news about roots');
  harness.bundles.set(bundleOf('td.test', 2));
  await until(() => harness.consumers.reports.length === 4);
  assert.equal(stream.messages.length, 3);
  stream.cancel();
  await until(() => harness.svids.open === 0 && harness.consumers.open === 0);
});

test('only a change of entries that concerns a process sends it a message, with the whole new state', async () => {
  await using harness = await startHarness();
  const mine = entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']);
  harness.entries.set(mine);
  const stream = collect<X509SVIDResponse__Output>(harness.client().FetchX509SVID({}, header()));
  await stream.first();
  harness.entries.set(mine, entryOf('x', 'spiffe://td.test/x', ['unix:uid:4711']));
  await answered(harness);
  assert.equal(stream.messages.length, 1);
  harness.entries.set(mine, entryOf('b', 'spiffe://td.test/more', ['unix:uid:0']));
  await stream.count(2);
  assert.equal(stream.messages[1]?.svids.length, 2);
  stream.cancel();
});

test('a process whose last entry goes is told PermissionDenied on the open stream', async () => {
  await using harness = await startHarness();
  harness.entries.set(entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']));
  const stream = collect<X509SVIDResponse__Output>(harness.client().FetchX509SVID({}, header()));
  await stream.first();
  harness.entries.set();
  const error = await stream.error();
  assert.equal(error.code, status.PERMISSION_DENIED);
  assert.equal(fromServiceError(error).code, 'NO_IDENTITY');
  assert.equal(stream.messages.length, 1);
});

test('a caller without identity learns its selectors and a refusal ID, and nothing about entries', async () => {
  await using harness = await startHarness();
  harness.entries.set(
    entryOf('secret-entry', 'spiffe://td.test/secret-app', ['unix:uid:0', 'unix:path:/opt/secret']),
  );
  const error = await collect(harness.client().FetchX509SVID({}, header())).error();
  const seen = fromServiceError(error);
  assert.equal(error.code, status.PERMISSION_DENIED);
  assert.equal(seen.code, 'NO_IDENTITY');
  assert.match(error.details, /unix:uid:0/);
  const everything = `${error.details} ${JSON.stringify(error.metadata.getMap())}`;
  for (const word of ['secret', 'td.test'])
    assert.ok(!everything.includes(word), `${word} in ${everything}`);
  const refusal = harness.refusals.get(String(seen.detail['refusalId']));
  assert.equal(refusal?.pid, process.pid);
  assert.ok(refusal?.selectors.some((each) => each.value === 'uid:0'));
});

test('a call without the security header, or with another value, is InvalidArgument', async () => {
  await using harness = await startHarness();
  harness.entries.set(entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']));
  const actor = await harness.actor();
  for (const metadata of [
    {},
    { 'workload.spiffe.io': 'false' },
    { 'workload.spiffe.io': 'true, true' },
  ]) {
    const { state } = speak(await actor.connect(harness.path)).fetchX509Svid(
      metadata as Record<string, string>,
    );
    await until(() => state.closed);
    assert.deepEqual(
      [state.status, state.code, state.messages.length],
      [status.INVALID_ARGUMENT, 'SECURITY_HEADER_MISSING', 0],
    );
  }
});

test('before the entries or the bundle are there the answer is Unavailable', async () => {
  await using harness = await startHarness();
  harness.entries.isSynced = false;
  assert.equal(
    fromServiceError(await collect(harness.client().FetchX509SVID({}, header())).error()).code,
    'NOT_SYNCED',
  );
  harness.bundles.set(undefined);
  const error = await collect(harness.client().FetchX509Bundles({}, header())).error();
  assert.deepEqual([error.code, fromServiceError(error).code], [status.UNAVAILABLE, 'STARTING_UP']);
});

test('the first message waits for SVIDs that are still being signed', async () => {
  await using harness = await startHarness();
  let signed = (): void => {};
  harness.svids.signing = new Promise((resolve) => (signed = resolve));
  harness.entries.set(
    entryOf('a', 'spiffe://td.test/one', ['unix:uid:0']),
    entryOf('b', 'spiffe://td.test/two', ['unix:uid:0']),
  );
  const stream = collect<X509SVIDResponse__Output>(harness.client().FetchX509SVID({}, header()));
  await until(() => harness.svids.open === 2, 'the stream waits for its SVIDs');
  await answered(harness);
  assert.equal(stream.messages.length, 0);
  signed();
  assert.equal((await stream.first()).svids.length, 2);
  stream.cancel();
});

test('X.509 bundles are keyed by trust domain ID, own and federated, and follow changes', async () => {
  await using harness = await startHarness();
  harness.entries.set(
    entryOf('a', 'spiffe://td.test/app', ['unix:uid:0'], { federatesWith: ['other.test'] }),
  );
  harness.bundles.set(harness.bundles.own, [bundleOf('other.test'), bundleOf('third.test')]);
  const stream = collect<X509BundlesResponse__Output>(
    harness.client().FetchX509Bundles({}, header()),
  );
  assert.deepEqual(Object.keys((await stream.first()).bundles).sort(), [
    'spiffe://other.test',
    'spiffe://td.test',
  ]);
  harness.bundles.set(bundleOf('td.test', 2));
  await stream.count(2);
  assert.deepEqual(Object.keys(stream.messages[1]?.bundles ?? {}), ['spiffe://td.test']);
  await until(
    () => harness.consumers.reports.filter((each) => each.startsWith('confirmed')).length === 2,
  );
  stream.cancel();
});

test('a foreign bundle comes and goes with the entries and with its own changes, each as an update', async () => {
  await using harness = await startHarness();
  const entry = (...federatesWith: readonly string[]) =>
    entryOf('a', 'spiffe://td.test/app', ['unix:uid:0'], {
      federatesWith,
      revision: 1 + harness.svids.confirmed.length,
    });
  const { own } = harness.bundles;
  const [one, two] = [bundleOf('other.test'), bundleOf('other.test', 2)];
  harness.bundles.set(own, [one]);
  harness.entries.set(entry());
  const stream = collect<X509SVIDResponse__Output>(harness.client().FetchX509SVID({}, header()));
  const roots = (index: number): Buffer | undefined =>
    stream.messages[index]?.federatedBundles['spiffe://other.test'];
  const next = async (index: number): Promise<void> => {
    await stream.count(index + 1);
    await until(() => harness.svids.confirmed.length === index + 1, 'it is read');
  };
  await next(0);
  assert.equal(roots(0), undefined);
  harness.entries.set(entry('other.test'));
  await next(1);
  assert.deepEqual(roots(1), one.rootsDer[0]);
  harness.bundles.set(own, [two]);
  await next(2);
  assert.deepEqual(roots(2), two.rootsDer[0]);
  harness.bundles.set(own, []);
  await next(3);
  assert.equal(roots(3), undefined, 'the relationship was removed');
  harness.bundles.set(own, [two]);
  await next(4);
  harness.entries.set(entry());
  await next(5);
  assert.equal(roots(5), undefined, 'the entry names it no longer');
  const told = new Set(harness.consumers.reports.filter((each) => each.startsWith('confirmed')));
  assert.equal(told.size, 1, 'the set of the own trust domain was the same all the time');
  stream.cancel();
});

test('the WIT calls are Unimplemented, also for a caller without identity and before the entries are there', async () => {
  await using harness = await startHarness();
  harness.entries.isSynced = false;
  const client = harness.client();
  assert.equal(
    (await collect(client.FetchWITSVID({}, header())).error()).code,
    status.UNIMPLEMENTED,
  );
  assert.equal(
    (await collect(client.FetchWITBundles({}, header())).error()).code,
    status.UNIMPLEMENTED,
  );
});

test('a reader that stands still gets, when it goes on, one message with the newest state and no backlog', async () => {
  await using harness = await startHarness();
  const entry = entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']);
  harness.entries.set(entry);
  const actor = await harness.actor();
  const socket = await actor.connect(harness.path);
  const { state } = speak(socket).fetchX509Svid();
  await until(() => state.messages.length === 1);
  await until(() => harness.svids.confirmed.length === 1);
  const handle = (socket as unknown as { _handle: { readStop(): void; readStart(): void } })
    ._handle;
  handle.readStop();
  let newest = '';
  for (let each = 0; each < 200; each += 1) {
    newest = harness.svids.renew(identityOf(entry)).chainDer[0]?.toString('hex') ?? '';
    if (each % 20 === 0) await nextTurn();
  }
  await answered(harness);
  assert.equal(harness.svids.confirmed.length, 1, 'nothing is confirmed that was not read');
  handle.readStart();
  await until(
    () => state.messages.at(-1)?.svids[0]?.x509Svid.toString('hex').startsWith(newest) ?? false,
  );
  assert.equal(state.messages.length, 3, 'the message that was under way, and the newest');
});

test('a stream that takes no message for 30 seconds is closed, an idle one is not', async () => {
  const clock = new LeapClock();
  await using harness = await startHarness({ clock });
  const entry = entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']);
  harness.entries.set(entry);
  const actor = await harness.actor();
  const socket = await actor.connect(harness.path);
  const { state } = speak(socket).fetchX509Svid();
  await until(() => harness.svids.confirmed.length === 1);
  await until(() => !clock.runs(stallMs), 'nothing is under way');
  clock.leap(40_000);
  await clock.caughtUp();
  harness.svids.renew(identityOf(entry));
  await until(() => state.messages.length === 2, '40 seconds without news is no stall');
  await until(() => harness.svids.confirmed.length === 2);
  await until(() => !clock.runs(stallMs), 'nothing is under way');
  (socket as unknown as { _handle: { readStop(): void } })._handle.readStop();
  harness.svids.renew(identityOf(entry));
  await until(() => clock.runs(stallMs), 'the message is under way');
  clock.leap(6_000);
  await clock.caughtUp();
  await answered(harness);
  assert.equal(harness.api.connections(), 1, '6 seconds are not enough');
  clock.leap(stallMs - 6_000);
  await until(() => harness.api.connections() === 0);
  await until(() => harness.svids.open === 0);
  assert.equal(harness.svids.confirmed.length, 2);
  assert.deepEqual(
    harness.consumers.stalls,
    ['took no message for 30 s; its stream was closed'],
    'it stays known by name',
  );
});

test('a stream whose HTTP/2 window is kept closed counts as one that takes no message', async () => {
  const clock = new LeapClock();
  await using harness = await startHarness({ clock });
  harness.entries.set(entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']));
  const actor = await harness.actor();
  const client = speak(await actor.connect(harness.path));
  await new Promise<void>((resolve) =>
    client.session.settings({ initialWindowSize: 0 }, () => resolve()),
  );
  const { state } = client.fetchX509Svid();
  await until(() => clock.runs(stallMs), 'a message is under way');
  assert.equal(harness.api.connections(), 1);
  clock.leap(stallMs);
  await until(() => harness.api.connections() === 0);
  assert.equal(state.messages.length, 0);
  assert.equal(harness.svids.confirmed.length, 0);
});

test('a client with the limit of gRPC keeps its identity beside large CRLs, one that takes more gets them', async () => {
  await using harness = await startHarness();
  harness.entries.set(entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']));
  const crls = [Buffer.alloc(3 * 1024 * 1024, 1), Buffer.alloc(2 * 1024 * 1024, 2)];
  const bytesOf = ({ crl }: { readonly crl: readonly Buffer[] }): number =>
    crl.reduce((sum, { length }) => sum + length, 0);
  const small = collect<X509SVIDResponse__Output>(harness.client().FetchX509SVID({}, header()));
  assert.equal(bytesOf(await small.first()), 0);
  harness.bundles.crlsDer = crls;
  harness.bundles.set(bundleOf('td.test', 2));
  await until(() => small.messages.length === 2, 'the message beside the CRLs');
  assert.deepEqual([small.messages[1]?.svids.length, bytesOf(small.messages[1]!)], [1, 0]);
  assert.equal(harness.withoutCrls.size, 1);
  assert.match(harness.withoutCrls.note() ?? '', /^1 stream of a workload without CRLs/);

  const roots = collect<X509BundlesResponse__Output>(
    harness.client().FetchX509Bundles({}, header()),
  );
  assert.equal(bytesOf(await roots.first()), 0);
  assert.equal(harness.withoutCrls.size, 2);
  const { client } = sourceContext({ socketPath: harness.path });
  const library = collect<X509SVIDResponse__Output>(client.FetchX509SVID({}, securityHeader()));
  assert.equal(bytesOf(await library.first()), bytesOf({ crl: crls }));
  assert.equal(harness.withoutCrls.size, 2);

  harness.bundles.crlsDer = [Buffer.alloc(1000)];
  harness.bundles.set(bundleOf('td.test', 3));
  await until(() => small.messages.length === 3, 'the message with the CRLs');
  assert.equal(bytesOf(small.messages[2]!), 1000);
  await until(() => harness.withoutCrls.size === 0, 'both have them');
  assert.equal(harness.withoutCrls.note(), undefined);
  harness.bundles.crlsDer = crls;
  harness.bundles.set(bundleOf('td.test', 4));
  await until(() => harness.withoutCrls.size === 2, 'both lack them');
  small.cancel();
  roots.cancel();
  client.close();
  await until(() => harness.withoutCrls.size === 0, 'who has gone lacks nothing');
});

test('calls cancelled at any moment leave nothing open and do not disturb other calls', async () => {
  const clock = new LeapClock();
  await using harness = await startHarness({ clock });
  const entry = entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']);
  harness.entries.set(entry);
  const actor = await harness.actor();
  const client = speak(await actor.connect(harness.path));
  const steady = client.fetchX509Svid();
  await until(() => steady.state.messages.length === 1);
  for (let each = 0; each < 300; each += 1) {
    const { request } = client.fetchX509Svid();
    if (each % 3 === 0) request.close(8);
    else if (each % 3 === 1) setImmediate(() => request.close(8));
    else void turns(each % 7).then(() => request.close(8));
    if (each % 10 === 0) await nextTurn();
  }
  await until(() => harness.svids.open === 1 && harness.consumers.open === 1);
  await until(() => !clock.runs(stallMs), 'nothing is under way');
  clock.leap(stallMs + 10_000);
  await clock.caughtUp();
  harness.svids.renew(identityOf(entry));
  await until(() => steady.state.messages.length === 2, 'the steady stream goes on');
  assert.deepEqual([harness.api.connections(), steady.state.closed], [1, false]);
});

test('draining tells open streams that the agent shuts down, removes the socket and frees everything', async () => {
  const harness = await startHarness();
  harness.entries.set(entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']));
  const stream = collect<X509SVIDResponse__Output>(harness.client().FetchX509SVID({}, header()));
  await stream.first();
  await harness.api.drain(500);
  assert.equal(fromServiceError(await stream.error()).code, 'SHUTTING_DOWN');
  assert.equal(harness.svids.open, 0);
  assert.equal(harness.api.connections(), 0);
  assert.equal(harness.entries.listeners, 0);
  await harness[Symbol.asyncDispose]();
});
