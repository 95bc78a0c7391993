import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentSeat, type AgentSeat } from '../support/agent-seat.ts';
import { foreignRoot, webPair } from '../support/bundle-endpoint.ts';
import { entryFor } from '../support/federated-pair.ts';
import { rotationOf } from '../support/mesh.ts';
import { freePorts } from '../support/ports.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { Spire, type SpirePrograms } from '../support/spire.ts';
import { until } from '../support/until.ts';
import { envoyLives } from './envoy-lives.ts';
import { EnvoyProcess, renewedBy } from './envoy-process.ts';
import { ForeignClient } from './foreign-client.ts';
import { foreignProgram } from './foreign-programs.ts';

type Profile = 'https_spiffe' | 'https_web';

const ours = 'mesh.test';
const theirs = 'partner.test';
const webRoot = foreignRoot('web', { uriSans: [] });

/**
 * SPIRE asks an endpoint every 15 s, however short its hint is. A root of ours waits five times the
 * hint, so that SPIRE has it before it signs.
 */
const lives = {
  ...envoyLives,
  issuance: { ...envoyLives.issuance, defaultTtlSeconds: 30, bundleRefreshHintSeconds: 5 },
};

/** A trust domain of ours and one of SPIRE, each with a workload on go-spiffe and two Envoys. */
class Scene implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #profile: Profile;
  server!: TestServer;
  seat!: AgentSeat;
  spire!: Spire;
  our!: ForeignClient;
  their!: ForeignClient;
  readonly #envoys: { readonly of: string; readonly envoy: EnvoyProcess }[] = [];
  ways: readonly { readonly port: number; readonly answer: string }[] = [];

  private constructor(profile: Profile) {
    this.#profile = profile;
  }

  static async open(profile: Profile): Promise<Scene> {
    const scene = new Scene(profile);
    try {
      await scene.#start();
    } catch (thrown) {
      await scene[Symbol.asyncDispose]();
      throw thrown;
    }
    return scene;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }

  async #start(): Promise<void> {
    const options = {
      programs: spirePrograms(),
      trustDomain: theirs,
      profile: this.#profile,
      webRoot,
    };
    const spire = (this.spire = this.#stack.use(await Spire.start(options)));
    const agentId = await this.#startOurs();
    await this.#federate();
    await entryFor({ trustDomain: ours, server: this.server, seat: this.seat, agentId }, 'web', [
      theirs,
    ]);
    await spire.entry('web', [ours]);
    const client = (socketPath: string): ForeignClient =>
      this.#stack.use(new ForeignClient('go', foreignProgram('goClient'), socketPath));
    this.our = client(this.seat.socketPath);
    this.their = client(spire.socketPath);
    await this.our.until(() => this.our.identity?.foreign?.join() === theirs, 'the bundle');
    await this.their.until(() => this.their.identity?.foreign?.join() === ours, 'the bundle');
    this.ways = [
      await this.#way(ours, theirs, ['ALL', 'ALL']),
      // SPIRE's agent withdraws a bundle from ALL alone, and not from its own name
      await this.#way(theirs, ours, ['ALL', `spiffe://${theirs}`]),
    ];
  }

  /** Returns the ID of the agent. */
  async #startOurs(): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), 'meshca-with-spire-'));
    this.#stack.defer(() => rm(dir, { recursive: true, force: true }));
    const pair = webPair(webRoot);
    const [certFile, keyFile] = [join(dir, 'web.pem'), join(dir, 'web.key')];
    await writeFile(certFile, pair.cert);
    await writeFile(keyFile, pair.key, { mode: 0o600 });
    this.server = this.#stack.use(
      await startTestServer({
        config: {
          ...lives,
          federation: {
            pollMinimumSeconds: 1,
            ...{ web: { port: 0, certFile, keyFile }, spiffe: { port: 0 } },
          },
        },
      }),
    );
    const { token, agentId } = await this.server.admin('Tokens/CreateJoinToken', {
      agentName: 'node',
    });
    this.seat = this.#stack.use(await agentSeat(this.server, { joinToken: { token } }));
    await this.seat.start();
    await this.seat.connected();
    return agentId;
  }

  async #federate(): Promise<void> {
    const { server, spire } = this;
    const profile = this.#profile;
    const { web, spiffe } = server.server.federationPorts;
    await spire.trust(
      profile === 'https_web'
        ? { trustDomain: ours, url: `https://localhost:${web}/`, profile }
        : {
            ...{ trustDomain: ours, url: `https://localhost:${spiffe}/`, profile },
            endpointId: `spiffe://${ours}/meshca/server`,
            document: (await server.admin('Authorities/GetBundle')).bundleJson,
          },
    );
    await server.admin('Federation/CreateRelationship', {
      trustDomain: theirs,
      endpointUrl: spire.endpointUrl,
      endpointProfile: profile,
      ...(profile === 'https_web'
        ? { webRootsDer: [webRoot.certificateDer] }
        : {
            endpointSpiffeId: spire.endpointId,
            bundleDocument: Buffer.from(await spire.document()),
          }),
    });
    await until(async () => {
      const { bundle, polls } = await this.relationship();
      return bundle !== null && polls !== null && polls.attemptedAt > 0 && polls.failure === null;
    }, 'the first poll');
  }

  relationship() {
    return this.server.admin('Federation/GetRelationship', { trustDomain: theirs });
  }

  /** Two Envoys, of which the first forwards to the second in the other trust domain. */
  async #way(
    from: string,
    to: string,
    [outer, inner]: readonly [string, string],
  ): Promise<{ readonly port: number; readonly answer: string }> {
    const [port = 0, inside = 0, first = 0, second = 0] = await freePorts(4);
    const start = async (
      name: string,
      [own, peer]: readonly [string, string],
      options: Pick<EnvoyOptionsOf, 'port' | 'adminPort' | 'bundle' | 'upstreamPort'>,
    ): Promise<void> => {
      const isOurs = own === ours;
      const socketPath = isOurs ? this.seat.socketPath : this.spire.socketPath;
      const envoy = await EnvoyProcess.start({
        ...{ name, socketPath, api: isOurs ? 'DELTA_GRPC' : 'GRPC' },
        ...{ svid: `spiffe://${own}/web`, peer: `spiffe://${peer}/web` },
        ...options,
      });
      this.#envoys.push({ of: own, envoy: this.#stack.use(envoy) });
    };
    const answer = `in-${to}`;
    await start(answer, [to, from], { port: inside, adminPort: first, bundle: inner });
    await start('out', [from, to], {
      ...{ port, adminPort: second, bundle: outer, upstreamPort: inside },
    });
    return { port, answer };
  }

  async ask(port: number): Promise<string> {
    return fetch(`http://127.0.0.1:${port}/`).then(
      async (response) => `${response.status} ${await response.text()}`,
      (thrown: unknown) => `failed: ${String(thrown)}`,
    );
  }

  /** One visit of each kind and direction: through Envoys, of workloads, and a token. */
  get visits(): readonly (() => Promise<string>)[] {
    const { our, their } = this;
    const [ourId, theirId] = [`spiffe://${ours}/web`, `spiffe://${theirs}/web`];
    const wanted = (what: string, said: string, expected: string): string =>
      said === expected ? '' : `${what}: ${said}`;
    return [
      ...this.ways.map(
        ({ port, answer }) =>
          async () =>
            wanted(answer, await this.ask(port), `200 ${answer}`),
      ),
      async () => wanted('dial theirs', await our.dial(their.port), theirId),
      async () => wanted('dial ours', await their.dial(our.port), ourId),
      async () => wanted('their token', await our.validate('us', await their.token('us')), theirId),
      async () => wanted('our token', await their.validate('us', await our.token('us')), ourId),
    ];
  }

  /** Everything talks. What Envoys have not loaded yet may fail until then. */
  async talks(): Promise<void> {
    for (const visit of this.visits) {
      let said = '';
      await until(async () => (said = await visit()) === '', `a visit; the last one: ${said}`);
    }
  }

  /** Runs `change` under load. Returns how many visits there were; none may fail. */
  async under(change: () => Promise<unknown>): Promise<number> {
    let going = true;
    let count = 0;
    const failed: string[] = [];
    const load = async (visit: () => Promise<string>): Promise<void> => {
      while (going) {
        const said = await visit();
        count += 1;
        if (said !== '') failed.push(said);
        await sleep(20);
      }
    };
    const traffic = Promise.all(this.visits.map(load));
    try {
      await change();
    } finally {
      going = false;
      await traffic;
    }
    assert.deepEqual(failed, [], `of ${count} visits`);
    return count;
  }

  #envoysOf(trustDomain: string): readonly EnvoyProcess[] {
    return this.#envoys.flatMap(({ of, envoy }) => (of === trustDomain ? [envoy] : []));
  }

  /** Runs `change`, and waits until each workload and Envoy of the trust domain has a new leaf. */
  async #renewedBy(trustDomain: string, change: () => Promise<unknown>): Promise<void> {
    const client = trustDomain === ours ? this.our : this.their;
    const serial = client.identity?.serial;
    await renewedBy(this.#envoysOf(trustDomain), change);
    await client.until(() => client.identity?.serial !== serial, 'a new certificate');
  }

  /** Everybody has the root before it signs, and the old one leaves when it is revoked. */
  async rotateTheirs(): Promise<void> {
    const { spire, their } = this;
    const change = await spire.prepareRoot();
    await this.#weFollow(2);
    await their.until(() => their.identity?.roots.length === 2, 'their own new root');
    await this.#renewedBy(theirs, () => spire.activateRoot(change));
    await spire.withdrawRoot(change);
    await this.#weFollow(1);
  }

  /** SPIRE has our root, by its own polls, before it signs. */
  async rotateOurs(): Promise<void> {
    const rotation = rotationOf(this.server);
    const before = await rotation.activeId('issuing');
    await this.#renewedBy(ours, async () => {
      const rotated = rotation.rotate('root');
      await until(async () => {
        const root = await rotation.inState('root', 'published');
        if (root === undefined) return false;
        const held = await this.spire.held(ours);
        const stillWaits = (await rotation.inState('root', 'published')) !== undefined;
        return stillWaits && held.includes(root.authority.certificateDer.toString('base64'));
      }, 'SPIRE holds the new root while it signs nothing yet');
      await rotated;
      await until(
        async () => (await rotation.activeId('issuing')) !== before,
        'an intermediate under the new root',
      );
    });
  }

  /** Our next poll has their bundle, and so have our Envoys. */
  async #weFollow(roots: number): Promise<void> {
    await until(async () => {
      const { bundle } = await this.relationship();
      const newest = bundle?.rootsDer.at(-1);
      if (newest === undefined || bundle?.rootsDer.length !== roots) return false;
      const held = await Promise.all(this.#envoysOf(ours).map((envoy) => envoy.holds(newest)));
      return held.every(Boolean);
    }, `${roots} roots of SPIRE`);
  }

  /** SPIRE ends the trust alone. */
  async endedByThem(): Promise<void> {
    const [{ our, their }, token] = [this, await this.our.token('us')];
    await this.spire.distrust(ours);
    await their.until(() => their.identity?.foreign?.length === 0, 'the withdrawal');
    await this.#refused();
    assert.match(await their.validate('us', token), /^error/);
    // we still trust SPIRE
    assert.equal(await our.validate('us', await their.token('us')), `spiffe://${theirs}/web`);
  }

  async endedByUs(): Promise<void> {
    const [{ our, their }, token] = [this, await this.their.token('us')];
    await this.server.admin('Federation/DeleteRelationship', { trustDomain: theirs });
    await our.until(() => our.identity?.foreign?.length === 0, 'the withdrawal');
    await this.#refused();
    assert.match(await our.validate('us', token), /^error/);
    assert.equal(await their.validate('us', await our.token('us')), `spiffe://${ours}/web`);
  }

  /** Neither side reaches the other one any more. */
  async #refused(): Promise<void> {
    const { our, their } = this;
    for (const { port, answer } of this.ways)
      await until(async () => (await this.ask(port)).startsWith('503'), `no way to ${answer}`);
    assert.match(await our.dial(their.port), /^error/);
    assert.match(await their.dial(our.port), /^error/);
  }
}

function spirePrograms(): SpirePrograms {
  return { server: foreignProgram('spire').join(), agent: foreignProgram('spireAgent').join() };
}

type EnvoyOptionsOf = Parameters<typeof EnvoyProcess.start>[0];

// at once: most of the time is waiting for polls and renewals
describe('with a real SPIRE', { concurrency: true }, () => {
  for (const profile of ['https_spiffe', 'https_web'] as const)
    test(`by ${profile}, all talk while both replace their roots, until one side ends it`, async (t) => {
      const startedMs = performance.now();
      await using scene = await Scene.open(profile);
      await scene.talks();
      const visits = await scene.under(() =>
        Promise.all([
          scene.rotateTheirs(),
          scene.rotateOurs(),
          rotationOf(scene.server).rotate('jwt'),
        ]),
      );
      const seconds = Math.round((performance.now() - startedMs) / 1000);
      t.diagnostic(`${visits} visits, 0 failed, until ${seconds} s after the start`);
      await (profile === 'https_spiffe' ? scene.endedByThem() : scene.endedByUs());
    });
});
