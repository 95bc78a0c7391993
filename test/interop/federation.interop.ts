import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { certificatesToPem } from '../../src/common/x509/index.ts';
import { runDrill } from '../support/drill.ts';
import {
  entryFor,
  federatedPair,
  webRoot,
  type FederatedPair,
  type FederatedSide,
} from '../support/federated-pair.ts';
import { eventually, rotationOf } from '../support/mesh.ts';
import { freePorts } from '../support/ports.ts';
import { envoyLives } from './envoy-lives.ts';
import { EnvoyProcess, renewedBy } from './envoy-process.ts';
import { ForeignClient } from './foreign-client.ts';
import { foreignProgram } from './foreign-programs.ts';

// The steps follow each other: each one starts from where the one before has left the two.
describe('two trust domains, to go-spiffe and Envoy', () => {
  const stack = new AsyncDisposableStack();
  let pair: FederatedPair;
  let clients: Readonly<Record<'one' | 'other', ForeignClient>>;
  /** Where a request goes in, and whom it reaches behind two Envoys. */
  let ways: readonly { readonly port: number; readonly answer: string }[] = [];
  const envoys: EnvoyProcess[] = [];

  /** Two Envoys, of which the first forwards to the second in the other trust domain. */
  async function way(
    from: FederatedSide,
    to: FederatedSide,
    bundles: readonly [string, string],
  ): Promise<{ readonly port: number; readonly answer: string }> {
    const [port = 0, inside = 0, first = 0, second = 0] = await freePorts(4);
    const idOf = ({ trustDomain }: FederatedSide): string => `spiffe://${trustDomain}/web`;
    const answer = `in-${to.trustDomain}`;
    const inner = stack.use(
      await EnvoyProcess.start({
        ...{ name: answer, socketPath: to.seat.socketPath, api: 'GRPC' },
        ...{ port: inside, adminPort: first },
        ...{ svid: idOf(to), bundle: bundles[1], peer: idOf(from) },
      }),
    );
    const outer = stack.use(
      await EnvoyProcess.start({
        ...{ name: 'out', socketPath: from.seat.socketPath, api: 'DELTA_GRPC' },
        ...{ port, adminPort: second, upstreamPort: inside },
        ...{ svid: idOf(from), bundle: bundles[0], peer: idOf(to) },
      }),
    );
    envoys.push(inner, outer);
    return { port, answer };
  }

  async function ask(port: number): Promise<string> {
    return fetch(`http://127.0.0.1:${port}/`).then(
      async (response) => `${response.status} ${await response.text()}`,
      (thrown: unknown) => `failed: ${String(thrown)}`,
    );
  }

  /** Runs `change` under load. Each request must succeed. */
  async function under(change: () => Promise<unknown>): Promise<void> {
    let going = true;
    let asked = 0;
    const failed: string[] = [];
    const load = async ({ port, answer }: (typeof ways)[number]): Promise<void> => {
      while (going) {
        const said = await ask(port);
        asked += 1;
        if (said !== `200 ${answer}`) failed.push(said);
      }
    };
    const traffic = Promise.all(ways.map(load));
    try {
      await change();
    } finally {
      going = false;
      await traffic;
    }
    assert.deepEqual(failed, [], `of ${asked} requests`);
    assert.ok(asked > 0);
  }

  /** Root and intermediate; until the new ones sign. */
  async function rotate({ server }: FederatedSide): Promise<void> {
    const rotation = rotationOf(server);
    const before = await rotation.activeId('issuing');
    await rotation.rotate('root');
    await eventually(
      'an intermediate under the new root',
      async () => (await rotation.activeId('issuing')) !== before,
    );
  }

  before(async () => {
    const issuance = { ...envoyLives.issuance, defaultTtlSeconds: 30 };
    pair = stack.use(await federatedPair({ ...envoyLives, issuance }));
    await entryFor(pair.one, 'web', ['other.test']);
    await entryFor(pair.other, 'web', ['one.test']);
    const clientOf = ({ seat }: FederatedSide): ForeignClient =>
      stack.use(new ForeignClient('go', foreignProgram('goClient'), seat.socketPath));
    clients = { one: clientOf(pair.one), other: clientOf(pair.other) };
    for (const client of Object.values(clients)) await client.ready();
    ways = [
      await way(pair.one, pair.other, ['ALL', 'ALL']),
      await way(pair.other, pair.one, ['spiffe://one.test', 'spiffe://other.test']),
    ];
  });
  after(() => stack.disposeAsync());

  test('go-spiffe has the bundle of the other side, shakes hands and validates tokens both ways', async () => {
    const { one, other } = clients;
    await one.until(() => one.identity?.foreign?.join() === 'other.test', 'the bundle');
    await other.until(() => other.identity?.foreign?.join() === 'one.test', 'the bundle');
    assert.equal(await one.dial(other.port), 'spiffe://other.test/web');
    assert.equal(await other.dial(one.port), 'spiffe://one.test/web');
    assert.equal(await one.validate('api', await other.token('api')), 'spiffe://other.test/web');
    assert.equal(await other.validate('api', await one.token('api')), 'spiffe://one.test/web');
  });

  test('go-spiffe’s federation client takes our bundle by both profiles, and by no other ID', async () => {
    const { server, seat } = pair.other;
    const { federationPorts, httpPorts } = server.server;
    const [caFile, document] = [join(seat.dataDir, 'web.pem'), join(seat.dataDir, 'other.json')];
    await writeFile(caFile, certificatesToPem([webRoot.certificateDer]));
    const published = await fetch(`http://127.0.0.1:${httpPorts.plain}/bundle`);
    await writeFile(document, await published.text());
    const [web, spiffe] = (['web', 'spiffe'] as const).map(
      (profile) => `https://localhost:${federationPorts[profile]}/`,
    ) as [string, string];
    const wanted = /^other\.test sequence \d+ hint 1 roots 1 keys [12]$/;
    assert.match(await clients.one.bundle('other.test', web, 'web', caFile), wanted);
    const id = 'spiffe://other.test/meshca/server';
    assert.match(await clients.one.bundle('other.test', spiffe, 'spiffe', id, document), wanted);
    const wrong = 'spiffe://other.test/meshca/other';
    assert.match(
      await clients.one.bundle('other.test', spiffe, 'spiffe', wrong, document),
      /error/,
    );
  });

  test('Envoys of both trust domains talk, by ALL and by the ID of the trust domain', async () => {
    for (const { port, answer } of ways)
      await eventually(`a request to reach ${answer}`, async () => {
        return (await ask(port)) === `200 ${answer}`;
      });
  });

  test('Envoys fail no request while both sides replace their roots', async () => {
    await under(async () => {
      await Promise.all([rotate(pair.one), rotate(pair.other)]);
      await renewedBy(envoys);
    });
  });

  test('when one side ends the trust, its Envoys and its go-spiffe refuse the other side', async () => {
    const { one, other } = clients;
    const token = await other.token('api');
    await pair.one.server.admin('Federation/DeleteRelationship', { trustDomain: 'other.test' });
    await one.until(() => one.identity?.foreign?.length === 0, 'the withdrawal');
    assert.match(await one.dial(other.port), /^error/);
    assert.match(await other.dial(one.port), /^error/);
    assert.match(await one.validate('api', token), /^error/);
    for (const { port } of ways)
      await eventually('the Envoys to refuse', async () => (await ask(port)).startsWith('503'));
  });
});

test('two trust domains of ours and one of SPIRE rotate their roots under load without a failure, and part', async (t) => {
  const spire = foreignProgram('spire');
  const spireAgent = foreignProgram('spireAgent');
  const { code, figures, stderr } = await runDrill(
    ...['federation', '--short', '--json'],
    ...['--spire-server', spire.join(), '--spire-agent', spireAgent.join()],
  );
  assert.equal(code, 0, stderr);
  assert.equal(figures.failed, 0);
  assert.equal(figures.trustDomains, 3);
  t.diagnostic(JSON.stringify(figures));
  assert.ok(figures.foreignVisits > 10 * figures.workloads, JSON.stringify(figures));
});
