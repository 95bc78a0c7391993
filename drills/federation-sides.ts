import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { webPair } from '../test/support/bundle-endpoint.ts';
import { freePorts } from '../test/support/ports.ts';
import { productEntry } from '../test/support/product.ts';
import { Spire, type SpirePrograms } from '../test/support/spire.ts';
import { createRoot } from '../test/support/test-pki.ts';
import { until } from '../test/support/until.ts';
import { FederationWorkloads } from './federation-workloads.ts';
import { OutageNode } from './outage-node.ts';
import { runNode } from './run-node.ts';
import { createWorld, livesOf, type World } from './world.ts';

export interface FederationPlan {
  readonly workloads: number;
  readonly lifeSeconds: number;
  readonly pauseMs: number;
}

type Profile = 'https_spiffe' | 'https_web';

/** Where others find the bundle of a trust domain. */
export interface BundlePlace {
  readonly trustDomain: string;
  readonly url: string;
  readonly endpointId: string;
  readonly document: string;
}

/** One trust domain, with its server, its agent and its workloads. */
export interface FederationSide {
  readonly trustDomain: string;
  readonly workloads: FederationWorkloads;
  place(profile: Profile): Promise<BundlePlace>;
  /** Until it has the bundle. */
  trust(place: BundlePlace, profile: Profile): Promise<void>;
  startWorkloads(plan: FederationPlan, foreignDomains: readonly string[]): Promise<void>;
  /** Root and what is below it, until the old ones are gone. `others`: who must have the new one. */
  rotate(others: readonly FederationSide[]): Promise<void>;
  distrust(trustDomain: string): Promise<void>;
}

/** Above the endpoints with the profile https_web. */
const webRoot = createRoot('web.test');

interface SideOptions {
  readonly stack: AsyncDisposableStack;
  readonly signal: AbortSignal;
  readonly plan: FederationPlan;
  /** How often others are to ask for the bundle. */
  readonly hintSeconds: number;
}

/** A trust domain of ours. */
export class OurSide implements FederationSide {
  readonly trustDomain: string;
  readonly workloads: FederationWorkloads;
  readonly #world: World;
  readonly #node: OutageNode;
  readonly #ports: Readonly<Record<Profile, number>>;
  readonly #options: SideOptions;

  private constructor(
    world: World,
    ports: Readonly<Record<Profile, number>>,
    options: SideOptions,
  ) {
    this.trustDomain = world.trustDomain;
    this.#world = world;
    this.#node = options.stack.use(new OutageNode(world, 'node'));
    this.workloads = options.stack.use(new FederationWorkloads());
    this.#ports = ports;
    this.#options = options;
  }

  static async open(trustDomain: string, options: SideOptions): Promise<OurSide> {
    const { stack, signal, plan, hintSeconds } = options;
    const [web = 0, spiffe = 0] = await freePorts(2);
    const issuance = {
      ...livesOf(plan.lifeSeconds),
      bundleRefreshHintSeconds: hintSeconds,
    };
    const world = stack.use(await createWorld({ trustDomain, signal, signers: 1, issuance }));
    const pair = webPair(webRoot);
    const [certFile, keyFile] = [join(world.dir, 'web.pem'), join(world.dir, 'web.key')];
    await writeFile(certFile, pair.cert);
    await writeFile(keyFile, pair.key, { mode: 0o600 });
    await world.configure(issuance, {
      rotation: { automatic: false, retireMarginSeconds: 2, jwksCacheSeconds: 1 },
      federation: {
        ...{ pollMinimumSeconds: 1, pollMaximumSeconds: 2 },
        ...{ web: { port: web, certFile, keyFile }, spiffe: { port: spiffe } },
      },
    });
    await world.start().ready;
    await world.calls.learnRoots();
    const side = new OurSide(world, { https_web: web, https_spiffe: spiffe }, options);
    await side.#node.join({ port: world.port, lifeSeconds: plan.lifeSeconds });
    return side;
  }

  async place(profile: Profile): Promise<BundlePlace> {
    const { bundleJson } = await this.#world.calls.admin('Authorities/GetBundle');
    return {
      trustDomain: this.trustDomain,
      url: `https://localhost:${this.#ports[profile]}/`,
      endpointId: `spiffe://${this.trustDomain}/meshca/server`,
      document: bundleJson as string,
    };
  }

  async trust({ trustDomain, url, endpointId, document }: BundlePlace, profile: Profile) {
    const { calls } = this.#world;
    await calls.admin('Federation/CreateRelationship', {
      trustDomain,
      endpointUrl: url,
      endpointProfile: profile,
      ...(profile === 'https_spiffe'
        ? { endpointSpiffeId: endpointId, bundleDocument: Buffer.from(document) }
        : { webRootsDer: [webRoot.certificateDer] }),
    });
    await until(async () => {
      const { polls } = await calls.admin('Federation/GetRelationship', { trustDomain });
      return polls?.attemptedAt > 0 && polls.failures === 0;
    }, `the bundle of ${trustDomain}`);
  }

  async startWorkloads(plan: FederationPlan, foreignDomains: readonly string[]): Promise<void> {
    await this.#world.calls.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: `spiffe://${this.trustDomain}/workload`,
          parentId: this.#node.agentId,
          selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
          federatesWith: [...foreignDomains],
        },
      ],
    });
    const { socketPath } = this.#node;
    await this.workloads.start(plan.workloads, { ...plan, socketPath, foreignDomains });
  }

  /** The server itself waits until relying parties have the new root. */
  async rotate(): Promise<void> {
    const world = this.#world;
    const { plan, signal } = this.#options;
    const before = await world.calls.learnRoots();
    const { code, stderr } = await runNode(
      [
        ...[productEntry, '--server-socket', world.adminSocketPath, 'authority', 'rotate'],
        ...['--kind', 'root', '--until', 'retired', '--reason', 'drill', '--json'],
      ],
      (plan.lifeSeconds * 6 + 300) * 1000,
      signal,
    );
    if (code !== 0)
      throw new Error(`meshca authority rotate ended with ${code}: ${stderr.slice(-500)}`);
    const roots = await world.calls.learnRoots();
    if (roots.length !== 1 || before.some((der) => der.equals(roots[0] as Buffer)))
      throw new Error(`the bundle of ${this.trustDomain} is not the new root alone`);
  }

  async distrust(trustDomain: string): Promise<void> {
    await this.#world.calls.admin('Federation/DeleteRelationship', {
      trustDomain,
      reason: 'drill',
    });
  }
}

/** A trust domain of a real SPIRE server and agent. */
export class SpireSide implements FederationSide {
  readonly trustDomain: string;
  readonly workloads: FederationWorkloads;
  readonly #spire: Spire;

  private constructor(spire: Spire, stack: AsyncDisposableStack) {
    this.trustDomain = spire.trustDomain;
    this.workloads = stack.use(new FederationWorkloads());
    this.#spire = spire;
  }

  static async open(
    trustDomain: string,
    programs: SpirePrograms,
    { stack }: Pick<SideOptions, 'stack'>,
  ): Promise<SpireSide> {
    const options = { programs, trustDomain, profile: 'https_spiffe', webRoot } as const;
    return new SpireSide(stack.use(await Spire.start(options)), stack);
  }

  async place(): Promise<BundlePlace> {
    const { trustDomain, endpointUrl: url, endpointId } = this.#spire;
    return { trustDomain, url, endpointId, document: await this.#spire.document() };
  }

  trust(place: BundlePlace, profile: Profile): Promise<void> {
    return this.#spire.trust({ ...place, profile });
  }

  async startWorkloads(plan: FederationPlan, foreignDomains: readonly string[]): Promise<void> {
    await this.#spire.entry('workload', foreignDomains);
    const { socketPath } = this.#spire;
    await this.workloads.start(plan.workloads, { ...plan, socketPath, foreignDomains });
  }

  /** SPIRE waits for nobody: its operator waits until everybody has the new root. */
  async rotate(others: readonly FederationSide[]): Promise<void> {
    const { trustDomain } = this;
    const change = await this.#spire.prepareRoot();
    for (const side of [this, ...others])
      await until(
        async () => (await side.workloads.leastRoots(trustDomain)) === 2,
        `${side.trustDomain} has the new root of ${trustDomain}`,
      );
    const before = await this.workloads.serials();
    await this.#spire.activateRoot(change);
    await until(
      async () => (await this.workloads.serials()).every((serial) => !before.includes(serial)),
      `new certificates in ${trustDomain}`,
    );
    await this.#spire.withdrawRoot(change);
    for (const side of [this, ...others])
      await until(
        async () => (await side.workloads.leastRoots(trustDomain)) === 1,
        `the old root of ${trustDomain} to leave ${side.trustDomain}`,
      );
  }

  distrust(trustDomain: string): Promise<void> {
    return this.#spire.distrust(trustDomain);
  }
}
