import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  credentials,
  makeGenericClientConstructor,
  type ClientDuplexStream,
  type Metadata,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { fromServiceError } from '../../../../src/common/wire/index.ts';
import {
  createSubscriptionSet,
  defaultLimits,
  silentMetrics,
  startLocalServer,
  type Content,
  type SubscriptionSet,
  type MetadataRule,
  type SocketApi,
  type StreamHandle,
  type StreamSource,
} from '../../../../sidecar/local-server/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import { identityKey } from '../../../../sidecar/ports/entries.ts';
import { until } from '../../../support/until.ts';
import {
  bundleOf,
  entryOf,
  LeapClock,
  type FakeSvids,
} from '../../../support/local-server-fakes.ts';
import { collect, header, startHarness, type Harness } from './support.ts';

/**
 * A toy in the shape of Envoy's secret discovery: a client names secrets, gets one a response, and
 * answers each with ACK or NACK by nonce.
 */

interface Discovery {
  readonly names?: readonly string[];
  readonly nonce?: string;
  readonly error?: string;
}

interface Secret {
  readonly name: string;
  readonly version: string;
  readonly nonce: string;
}

const json = {
  serialize: (value: unknown): Buffer =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
  deserialize: (bytes: Buffer): unknown => JSON.parse(bytes.toString()),
};

const definition: ServiceDefinition = {
  StreamSecrets: {
    path: '/toy.Secrets/StreamSecrets',
    requestStream: true,
    responseStream: true,
    requestSerialize: json.serialize,
    requestDeserialize: json.deserialize,
    responseSerialize: json.serialize,
    responseDeserialize: json.deserialize,
  },
};

class SecretSource implements StreamSource {
  readonly #stream: StreamHandle;
  readonly #subscriptions: SubscriptionSet;
  #names: readonly string[] = [];

  constructor(stream: StreamHandle, svids: FakeSvids, clock: Clock) {
    this.#stream = stream;
    this.#subscriptions = createSubscriptionSet(svids, clock, () => stream.changed());
  }

  received(request: unknown): 'request' {
    this.#hear(request);
    return 'request';
  }

  #hear(request: unknown): void {
    const { names, nonce, error } = request as Discovery;
    if (nonce !== undefined && error !== undefined) this.#stream.refuse(nonce, error);
    else if (nonce !== undefined) this.#stream.acknowledge(nonce);
    if (names === undefined) return;
    if (names.includes('unknown')) throw new PkiError('INVALID_REQUEST', 'no secret of this name');
    this.#names = names;
    this.#stream.changed();
  }

  async contents(
    ...[{ identities, attested }, own]: Parameters<StreamSource['contents']>
  ): Promise<readonly Content[]> {
    this.#subscriptions.hold(identities, attested.selectors);
    await this.#subscriptions.settle(5000);
    const svids = this.#subscriptions.current();
    return this.#names.map((name) => {
      const leaf = name === 'default';
      const version = leaf
        ? svids.map((each) => `${identityKey(each.identity)}=${each.serial}`).join()
        : own.authoritySetDigest.toString('hex');
      return {
        key: name,
        version,
        svids: leaf ? svids : [],
        authorities: leaf ? undefined : own.authoritySetDigest,
        readerHasIt: false,
        encode: (nonce) => json.serialize({ name, version, nonce }),
        onSent: () => {},
        onRefused: () => {},
        onRead: () => {
          if (leaf) this.#subscriptions.confirm(svids);
        },
      };
    });
  }

  stalled(): void {}

  release(): void {
    this.#subscriptions.release();
  }
}

const toyApi =
  (metadata: MetadataRule) =>
  ({ svids, clock }: { readonly svids: FakeSvids; readonly clock: Clock }): SocketApi => ({
    name: 'toy',
    metadata,
    callers: { kind: 'workloads' },
    services: () => [
      {
        definition,
        methods: {
          StreamSecrets: {
            kind: 'stream',
            proof: 'ack',
            readers: { consumer: 'proxy', takes: 'roots' },
            withoutIdentity: 'refused',
            open: (stream) => new SecretSource(stream, svids, clock),
          },
        },
      },
    ],
  });

const free: MetadataRule = { kind: 'none', reason: 'Envoy can set none' };

function openSecrets(harness: Harness, metadata?: Metadata) {
  const Client = makeGenericClientConstructor(definition, 'Secrets');
  const client = new Client(`unix:${harness.path}`, credentials.createInsecure());
  const open = client['StreamSecrets'] as (
    metadata?: Metadata,
  ) => ClientDuplexStream<Discovery, Secret>;
  const stream = metadata === undefined ? open.call(client) : open.call(client, metadata);
  const { messages, count, error } = collect<Secret>(stream);
  return {
    messages,
    count,
    error,
    send: (request: Discovery) => void stream.write(request),
    /** Text that need not be JSON. */
    sendText: (text: string) => void stream.write(text as unknown as Discovery),
    names: () => messages.map((each) => each.name),
    [Symbol.dispose]() {
      stream.cancel();
      client.close();
    },
  };
}

const proxy = entryOf('p', 'spiffe://td.test/proxy', ['unix:uid:0']);

describe('an API whose readers acknowledge', () => {
  test('gets one secret a response, the next after the ACK of the one before', async () => {
    await using harness = await startHarness({ api: { more: toyApi(free) } });
    harness.entries.set(proxy);
    using secrets = openSecrets(harness);
    secrets.send({ names: ['default', 'ROOTCA'] });
    await secrets.count(1);
    harness.bundles.set(bundleOf('td.test'));
    secrets.send({ nonce: 'of another message' });
    assert.deepEqual(secrets.names(), ['default']);
    assert.deepEqual(harness.svids.confirmed, [], 'sent and read, but not acknowledged');
    secrets.send({ nonce: secrets.messages[0]!.nonce });
    await secrets.count(2);
    assert.equal(harness.svids.confirmed.length, 1);
    assert.deepEqual(secrets.names(), ['default', 'ROOTCA']);
    const digest = harness.bundles.own!.authoritySetDigest.toString('hex').slice(0, 8);
    assert.deepEqual(harness.consumers.reports, [`pending spiffe://td.test/proxy ${digest}`]);
    secrets.send({ nonce: secrets.messages[1]!.nonce });
    await until(() => harness.consumers.reports.length === 2);
    assert.equal(harness.consumers.reports[1], `confirmed spiffe://td.test/proxy ${digest}`);
  });

  test('that sends no message of the API is refused with our code', async () => {
    await using harness = await startHarness({ api: { more: toyApi(free) } });
    harness.entries.set(proxy);
    using secrets = openSecrets(harness);
    secrets.send({ names: ['ROOTCA'] });
    await secrets.count(1);
    secrets.sendText('{');
    assert.equal(fromServiceError(await secrets.error()).code, 'INVALID_REQUEST');
  });

  test('that refuses a secret is on record with its reason, and gets the next version', async () => {
    await using harness = await startHarness({ api: { more: toyApi(free) } });
    harness.entries.set(proxy);
    using secrets = openSecrets(harness);
    secrets.send({ names: ['ROOTCA'] });
    await secrets.count(1);
    secrets.send({ nonce: secrets.messages[0]!.nonce, error: 'the bundle is broken' });
    await until(() => harness.consumers.reports.length === 2);
    assert.match(harness.consumers.reports[1] as string, /^refused /);
    harness.bundles.set(bundleOf('td.test'));
    await secrets.count(2);
    assert.notEqual(secrets.messages[1]!.version, secrets.messages[0]!.version);
  });

  test('is told what a new subscription names, and what it holds is not sent again', async () => {
    await using harness = await startHarness({ api: { more: toyApi(free) } });
    harness.entries.set(proxy);
    using secrets = openSecrets(harness);
    secrets.send({ names: ['ROOTCA'] });
    await secrets.count(1);
    secrets.send({ nonce: secrets.messages[0]!.nonce, names: ['ROOTCA', 'default'] });
    await secrets.count(2);
    assert.deepEqual(secrets.names(), ['ROOTCA', 'default']);
    secrets.send({ names: ['unknown'] });
    assert.equal(fromServiceError(await secrets.error()).code, 'INVALID_REQUEST');
    assert.equal(harness.svids.open, 0);
  });

  test('loses its stream when its identity goes, or when it never answers', async () => {
    const clock = new LeapClock();
    await using harness = await startHarness({ clock, api: { more: toyApi(free) } });
    harness.entries.set(proxy);
    using secrets = openSecrets(harness);
    secrets.send({ names: ['default'] });
    await secrets.count(1);
    secrets.send({ nonce: secrets.messages[0]!.nonce });
    await until(() => harness.svids.confirmed.length === 1);
    harness.entries.set();
    assert.equal(fromServiceError(await secrets.error()).code, 'NO_IDENTITY');

    harness.entries.set(proxy);
    using silent = openSecrets(harness);
    silent.send({ names: ['default'] });
    await silent.count(1);
    await until(() => clock.runs(defaultLimits.stallMs));
    clock.leap(defaultLimits.stallMs);
    await silent.error();
    assert.equal(harness.consumers.stalls.length, 1);
  });
});

describe('the rule for metadata', () => {
  test('is each API’s own on a shared socket', async () => {
    const required: MetadataRule = { kind: 'required', key: 'toy', value: 'yes' };
    await using harness = await startHarness({ api: { more: toyApi(required) } });
    harness.entries.set(proxy);
    using foreign = openSecrets(harness, header());
    assert.equal(fromServiceError(await foreign.error()).code, 'SECURITY_HEADER_MISSING');
    const metadata = header();
    metadata.set('toy', 'yes');
    using right = openSecrets(harness, metadata);
    right.send({ names: ['ROOTCA'] });
    await right.count(1);
    assert.deepEqual(right.names(), ['ROOTCA']);
  });

  test('must be declared: an API without one does not start', async () => {
    await using harness = await startHarness();
    for (const rule of [
      undefined,
      {},
      { kind: 'none', reason: '' },
      { kind: 'required', key: 'x', value: '' },
    ]) {
      const api = toyApi(rule as MetadataRule)({ svids: harness.svids, clock: harness.clock });
      await assert.rejects(
        startLocalServer({
          ...harness.serverParts,
          socket: { path: join(harness.folder, 'other.sock') },
          apis: [api],
          metrics: silentMetrics,
          limits: defaultLimits,
        }),
        (thrown: PkiError) => thrown.code === 'INTERNAL' && /metadata/.test(thrown.message),
      );
    }
  });
});
