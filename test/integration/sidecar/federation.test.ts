import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import {
  agentContract,
  fromServiceError,
  workloadContract,
} from '../../../src/common/wire/index.ts';
import type { Explanation__Output } from '../../../src/common/wire/generated/meshca/agent/v1/Explanation.ts';
import type { ValidateJWTSVIDResponse__Output } from '../../../src/common/wire/generated/ValidateJWTSVIDResponse.ts';
import { certificatesToPem } from '../../../src/common/x509/index.ts';
import { nobodysAuthority } from '../../../sidecar/bundle/index.ts';
import {
  authorizeMemberOf,
  connectTls,
  createTlsServer,
  JwtSource,
  X509Source,
} from '../../../src/workload/index.ts';
import {
  entryFor,
  federatedPair,
  type FederatedPair,
  type FederatedSide,
} from '../../support/federated-pair.ts';
import { until } from '../../support/until.ts';
import { listen } from '../../support/workload-lib.ts';

// The steps follow each other: each one starts from where the one before has left the two.
let pair: FederatedPair;
const entries = new Map<FederatedSide, string>();
/** Of the file target of the first side. */
let targetDirectory = '';
before(async () => {
  pair = await federatedPair({}, (trustDomain, directory) => {
    if (trustDomain !== 'one.test') return {};
    targetDirectory = directory;
    const federatedFiles = { 'other.test': 'other.pem' };
    return { targets: [{ name: 'web', directory, driver: { type: 'none' }, federatedFiles }] };
  });
  const { one, other } = pair;
  await one.server.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: 'spiffe://one.test/files',
        parentId: one.agentId,
        selectors: ['target:name:web'],
        federatesWith: ['other.test'],
        // a set with other roots follows within a sixtieth of the life
        x509TtlSeconds: 120,
      },
    ],
  });
  entries.set(one, await entryFor(one, 'web', [other.trustDomain]));
  entries.set(other, await entryFor(other, 'web', [one.trustDomain]));
});
after(() => pair[Symbol.asyncDispose]());

async function sourceOf({ seat }: FederatedSide): Promise<X509Source> {
  return X509Source.connect({ socketPath: seat.socketPath, waitMs: 60_000 });
}

const has = (source: X509Source, { trustDomain }: FederatedSide): boolean =>
  source.bundles.has(trustDomain);

/** What a server of one side says to a client of the other, which admits its trust domain alone. */
async function talk(
  [server, serverSide]: readonly [X509Source, FederatedSide],
  [client, clientSide]: readonly [X509Source, FederatedSide],
): Promise<string> {
  const listener = createTlsServer(
    server,
    { authorize: authorizeMemberOf(clientSide.trustDomain) },
    (socket, peer) => socket.end(`hello ${peer.id}`),
  );
  try {
    const socket = await connectTls(client, {
      ...{ host: '127.0.0.1', port: await listen(listener) },
      expect: authorizeMemberOf(serverSide.trustDomain),
    });
    return await textOf(socket);
  } finally {
    listener.close();
  }
}

async function textOf(socket: TLSSocket): Promise<string> {
  let text = '';
  for await (const bytes of socket) text += String(bytes);
  return text;
}

/** What the served set of the file target holds of the other side. Empty: there is no set yet. */
const foreignFile = (): Promise<string> =>
  readFile(join(targetDirectory, 'current', 'other.pem'), 'utf8').catch(() => '');

/** As the agent judges it for a process of this user. */
async function validated({ seat }: FederatedSide, svid: string): Promise<string> {
  const client = new (workloadContract().packages.SpiffeWorkloadAPI)(
    `unix:${seat.socketPath}`,
    credentials.createInsecure(),
  );
  const header = new Metadata();
  header.set('workload.spiffe.io', 'true');
  try {
    return await new Promise((resolve) =>
      client.ValidateJWTSVID(
        { audience: 'api', svid },
        header,
        (error: ServiceError | null, value?: ValidateJWTSVIDResponse__Output) =>
          resolve(error === null ? (value?.spiffeId ?? '') : fromServiceError(error).code),
      ),
    );
  } finally {
    client.close();
  }
}

/** Why this process has the bundle of the other side, or lacks it. */
async function explained({ seat }: FederatedSide, { trustDomain }: FederatedSide): Promise<string> {
  const client = new (agentContract().packages.meshca.agent.v1.AgentLocal)(
    `unix:${seat.config.localApi.socketPath}`,
    credentials.createInsecure(),
  );
  try {
    const { foreignTrust } = await new Promise<Explanation__Output>((resolve, reject) =>
      client.Explain({ pid: process.pid }, (error, value) =>
        error === null ? resolve(value as Explanation__Output) : reject(error),
      ),
    );
    const found = foreignTrust.find((each) => each.trustDomain === trustDomain);
    return found === undefined ? 'unknown' : `${found.granted} ${found.reason}`;
  } finally {
    client.close();
  }
}

async function withSource<T>(
  { seat }: FederatedSide,
  use: (source: JwtSource) => Promise<T>,
): Promise<T> {
  await using source = await JwtSource.connect({ socketPath: seat.socketPath });
  return await use(source);
}

/** The entry of this side names these foreign trust domains from now on. */
async function name(side: FederatedSide, federatesWith: readonly string[]): Promise<void> {
  const id = entries.get(side) ?? '';
  const { entries: listed } = await side.server.admin('Entries/ListEntries', {});
  const entry = listed.find((each) => each.id === id);
  assert.ok(entry);
  const updated = await side.server.admin('Entries/UpdateEntry', {
    entry: { ...entry, federatesWith: [...federatesWith] },
  });
  assert.deepEqual(updated.federatesWith, federatesWith);
}

test('workloads of two trust domains talk in mTLS, and each knows the tokens of the other', async () => {
  const { one, other } = pair;
  await using first = await sourceOf(one);
  await using second = await sourceOf(other);
  await until(() => has(first, other) && has(second, one), 'both bundles');
  assert.equal(await talk([first, one], [second, other]), 'hello spiffe://other.test/web');
  assert.equal(await talk([second, other], [first, one]), 'hello spiffe://one.test/web');
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    await using source = await JwtSource.connect({ socketPath: from.seat.socketPath });
    await using judge = await JwtSource.connect({ socketPath: to.seat.socketPath });
    const { token, id } = await source.fetch('api');
    assert.equal(await validated(to, token), id.toString());
    await until(() => judge.trustDomains.includes(from.trustDomain), 'the keys');
    assert.equal((await judge.validate(token, 'api')).id.toString(), id.toString());
    assert.equal(await explained(from, to), 'true ');
  }
});

test('the file target has the roots of the other side', async () => {
  const roots = certificatesToPem(pair.other.server.rootsDer);
  await until(async () => (await foreignFile()) === roots, 'the roots');
});

test('a bundle that is withdrawn is trusted no more, and open connections end', async () => {
  const { one, other } = pair;
  await using first = await sourceOf(one);
  await using second = await sourceOf(other);
  await until(() => has(first, other) && has(second, one), 'both bundles');
  const listener = createTlsServer(first, { authorize: authorizeMemberOf('other.test') });
  const socket = await connectTls(second, {
    ...{ host: '127.0.0.1', port: await listen(listener) },
    expect: authorizeMemberOf('one.test'),
  });
  const ended = new Promise((resolve) => socket.once('close', resolve).once('error', () => {}));
  const { token } = await withSource(other, (source) => source.fetch('api'));
  assert.equal(await validated(one, token), 'spiffe://other.test/web');
  await one.server.admin('Federation/DeleteRelationship', { trustDomain: other.trustDomain });
  await until(() => !has(first, other), 'the withdrawal');
  await ended;
  listener.close();
  await assert.rejects(talk([second, other], [first, one]), { code: 'CHAIN_UNTRUSTED' });
  assert.equal(await validated(one, token), 'JWT_INVALID');
  assert.match(await explained(one, other), /^false the server has sent no bundle/);
  assert.equal(await explained(other, one), 'true ');
  const nobody = certificatesToPem([nobodysAuthority()]);
  await until(async () => (await foreignFile()) === nobody, 'a set that trusts nobody');

  await name(other, []);
  await until(() => !has(second, one), 'that no entry names it');
  // nobody names it any more, so that the agent holds it no longer
  assert.equal(await explained(other, one), 'unknown');
});

test('without its server an agent that starts again gives foreign bundles as before', async () => {
  const { one, other } = pair;
  await name(other, [one.trustDomain]);
  await until(async () => (await explained(other, one)) === 'true ', 'the bundle');
  await other.seat.stop();
  await other.server.stop();
  await other.seat.start();
  assert.equal(other.seat.agent.status().connected, false);
  assert.equal(await explained(other, one), 'true ');
  await using bundles = await JwtSource.connect({ socketPath: other.seat.socketPath });
  assert.deepEqual([...bundles.trustDomains].sort(), ['one.test', 'other.test']);
});
