import { generateKeyPairSync } from 'node:crypto';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unwrap } from '../../src/common/errors/index.ts';
import { silentLogger, uuidv7, type Logger } from '../../src/common/runtime/index.ts';
import { createCsr, parseCertificate } from '../../src/common/x509/index.ts';
import { SimAgent, simServer } from '../../test/support/sim-agent.ts';
import {
  attestByToken,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../test/support/server.ts';
import { past, until } from '../../test/support/until.ts';
import type { Ledger } from '../../src/ledger/index.ts';
import { acmeVictims } from './acme.ts';
import { approvalVictims } from './approvals.ts';
import { snapshotOf, type Snapshot } from './alterations.ts';
import { SqliteHand, type ForeignHand } from './hand.ts';
import { JobPlatform } from './jobs.ts';
import { createTrusts } from './trusts.ts';
import type { Victims } from './victims.ts';

const spiffe = (path: string): string => `spiffe://mesh.test${path}`;
/** As long as a run may last. */
const longSeconds = 80_000;
/** The life of the SVID of the agent that sleeps. */
const sleeperSeconds = 12;

const many = async <T>(count: number, make: (at: number) => Promise<T>): Promise<readonly T[]> => {
  const made: T[] = [];
  for (let at = 0; at < count; at += 1) made.push(await make(at));
  return made;
};

const notAfterOf = ({ chainDer: [der] }: Credential): number =>
  unwrap(parseCertificate(der ?? Buffer.alloc(0))).notAfter;

const renewingAgents = 12;
const nestedWorkloads = 6;

/** The server, its victims, and the database as it was after each step of the preparation. */
export class MutationWorld implements AsyncDisposable {
  readonly server: TestServer;
  readonly hand: ForeignHand;
  readonly steps: Snapshot[] = [];
  /** What was announced to operators. */
  readonly alerts: string[];
  victims!: Victims;
  /** The database as it was after each step. */
  readonly files: string[] = [];
  readonly #opened: { store: Ledger | undefined };
  #sleeper!: Credential;
  readonly #dir: string;
  readonly #platform: JobPlatform;

  private constructor(
    server: TestServer,
    {
      dir,
      alerts,
      platform,
      opened,
    }: {
      dir: string;
      alerts: string[];
      platform: JobPlatform;
      opened: { store: Ledger | undefined };
    },
  ) {
    this.#opened = opened;
    this.server = server;
    this.#dir = dir;
    this.#platform = platform;
    this.alerts = alerts;
    this.hand = new SqliteHand(join(server.config.dataDir, 'meshca.db'));
  }

  static async create(): Promise<MutationWorld> {
    const alerts: string[] = [];
    const logger: Logger = {
      ...silentLogger,
      error: (fields) => {
        const { code, kind, id, alert } = fields as Record<string, unknown>;
        if (alert === true) alerts.push([code, kind, id].filter(Boolean).join(' '));
      },
      child: () => logger,
    };
    const dir = await mkdtemp(join(tmpdir(), 'meshca-mutation-'));
    const platform = await JobPlatform.start(dir);
    const opened: { store: Ledger | undefined } = { store: undefined };
    const server = await startTestServer({
      logger,
      faults: { onStore: (store) => (opened.store = store) },
      config: {
        tokens: { issuers: [platform.settings] },
        issuance: {
          crlBaseUrl: 'http://ca.mesh.test/crl',
          bundleRefreshHintSeconds: 1,
          // the callers live longer than the drill
          defaultTtlSeconds: 86_400,
          agentTtlSeconds: sleeperSeconds,
        },
        limits: { downstreamPerMinute: 6_000 },
        // what is tainted or old stays for as long as a run may last
        rotation: { automatic: false, jwksCacheSeconds: 1, retireMarginSeconds: longSeconds },
      },
    });
    const world = new MutationWorld(server, { dir, alerts, platform, opened });
    world.#sleeper = await server.joinAgent('asleep');
    server.config.issuance.agentTtlSeconds = 86_400;
    await server.restart();
    world.victims = await world.#prepare();
    await world.#keep();
    return world;
  }

  /** The store of the running server. */
  get store(): Ledger {
    if (this.#opened.store === undefined) throw new Error('no server has opened the database');
    return this.#opened.store;
  }

  /** The database as it was after the preparation, and a server on it. */
  async reset(): Promise<void> {
    await this.server.stop();
    await this.putBack();
    await this.server.restart();
  }

  /** Only while the server is stopped. */
  async putBack(): Promise<void> {
    const { dataDir } = this.server.config;
    await rm(dataDir, { recursive: true, force: true });
    await cp(join(this.#dir, 'kept'), dataDir, { recursive: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await this.#platform[Symbol.asyncDispose]();
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #keep(): Promise<void> {
    await this.server.stop();
    await cp(this.server.config.dataDir, join(this.#dir, 'kept'), { recursive: true });
    await this.server.restart();
  }

  #step(): void {
    this.steps.push(snapshotOf(this.hand));
    const file = join(this.#dir, `step-${this.steps.length}.db`);
    this.hand.copyTo(file);
    this.files.push(file);
  }

  /** The whole file as after an earlier step. Only while the server is stopped. */
  async putFile(file: string): Promise<void> {
    const path = join(this.server.config.dataDir, 'meshca.db');
    await Promise.all(['-wal', '-shm'].map((end) => rm(path + end, { force: true })));
    await cp(file, path);
  }

  async #prepare(): Promise<Victims> {
    const { server } = this;
    const { admin } = server;
    const agents = await this.#agents();
    this.#step();
    const callers = await this.#callers();
    this.#step();
    await this.#policies();
    const revoked = await this.#entries(agents);
    const jobs = await this.#platform.jobs(server, longSeconds, () => this.#step());
    await admin('Agents/BanAgent', { spiffeId: agents.banned.spiffeId, reason: 'drill' });
    await admin('Agents/EvictAgent', { spiffeId: agents.evicted.spiffeId, reason: 'drill' });
    await admin('Certificates/RevokeCertificate', {
      serial: revoked.serial,
      reason: 'superseded',
    });
    await createTrusts(server);
    const acme = await acmeVictims(this.store, callers.istiod, () => this.#step());
    this.#step();
    const jwt = await this.#rotateJwt(agents.healthy);
    await past(notAfterOf(this.#sleeper));
    const approvals = await approvalVictims(server, this.#dir, () => this.#step());
    await this.#waitingRotations();
    const { authorities } = await admin('Authorities/ListAuthorities');
    const issuing = authorities.find(({ kind, state }) => kind === 'issuing' && state === 'active');
    return {
      ...agents,
      ...callers,
      revoked,
      jobs,
      ...jwt,
      ...approvals,
      acme,
      asleep: this.#sleeper,
      nested: await many(nestedWorkloads, async (at) => ({
        entryId: `nested-${at}`,
        credential: await this.#svid(agents.healthy, `nested-${at}`),
      })),
      plain: await this.#svid(agents.healthy, 'web'),
      key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
      issuingId: String(issuing?.id),
      states: new Set(authorities.map(({ id, kind, state }) => `${id.slice(-6)} ${kind} ${state}`)),
    };
  }

  /** The first version allows what the present one denies. */
  async #policies(): Promise<void> {
    const all = { name: 'all', effect: 'allow' };
    const forbidden = { name: 'no', effect: 'deny', spiffeIds: [spiffe('/ns/forbidden')] };
    for (const [version, rules] of [[all], [all, forbidden]].entries()) {
      await this.server.admin('Policies/ActivatePolicy', {
        text: JSON.stringify({ meshcaPolicy: 1, rules }),
        version,
        reason: 'drill',
      });
      this.#step();
    }
  }

  async #agents(): Promise<
    Pick<
      Victims,
      'healthy' | 'renewing' | 'cycled' | 'nudged' | 'banned' | 'evicted' | 'robbed' | 'tokens'
    >
  > {
    const { server } = this;
    const token = async (agentName: string) =>
      server.admin('Tokens/CreateJoinToken', { agentName, ttlSeconds: longSeconds });
    const used = (await token('evicted')).token;
    const revoked = await token('nobody');
    const agents = {
      healthy: await server.joinAgent('healthy'),
      renewing: await many(renewingAgents, (at) => server.joinAgent(`renewing-${at}`)),
      cycled: await server.joinAgent('cycled'),
      nudged: await server.joinAgent('nudged'),
      banned: await server.joinAgent('banned'),
      evicted: await attestByToken(server.client(), used),
      robbed: await server.joinAgent('robbed'),
      // good for an agent that will be banned, and never used
      tokens: { used, revoked: revoked.token, banned: (await token('banned')).token },
    };
    this.#step();
    await server.admin('Tokens/RevokeJoinToken', { id: revoked.id });
    await server.admin('Agents/EvictAgent', { spiffeId: agents.cycled.spiffeId, reason: 'drill' });
    await server.admin('Agents/EvictAgent', { spiffeId: agents.robbed.spiffeId, reason: 'moved' });
    await server.joinAgent('robbed');
    await using reporting = await SimAgent.join(simServer(server), 'reporting', ['consumer']);
    await until(
      () => this.hand.rows(this.#table('consumers')).length > 1,
      `the agent ${reporting.name} has reported`,
    );
    return agents;
  }

  #table(name: string) {
    const table = this.hand.tables().find((each) => each.name === name);
    if (table === undefined) throw new Error(`there is no table ${name}`);
    return table;
  }

  async #callers(): Promise<Pick<Victims, 'istiod' | 'former' | 'reader' | 'stranger'>> {
    const { server } = this;
    const { admin } = server;
    const delegate = async (path: string, pattern: string) =>
      admin('Delegations/CreateDelegation', {
        delegation: {
          clientId: spiffe(path),
          patterns: [spiffe(pattern)],
          maxTtlSeconds: 3600,
          dnsPatterns: ['*.mesh.internal'],
        },
      });
    await delegate('/istiod', '/ns/**');
    const { id } = await delegate('/former', '/old/**');
    const role = async (name: string, verb: string, member: string) =>
      admin('Roles/PutRole', {
        role: { name, verbs: [verb], prefixes: [spiffe('/')], members: [spiffe(member)] },
      });
    await role('readers', '*.read', '/reader');
    await role('writers', '*', '/somebody');
    const callers = {
      istiod: await server.mint(spiffe('/istiod')),
      former: await server.mint(spiffe('/former')),
      reader: await server.mint(spiffe('/reader'), { admin: true }),
      stranger: await server.mint(spiffe('/stranger'), { admin: true }),
    };
    this.#step();
    await admin('Delegations/RevokeDelegation', { id, reason: 'drill' });
    return callers;
  }

  /** Returns the certificate of an admin that will be revoked. */
  async #entries({
    healthy,
    banned,
    robbed,
    evicted,
  }: Pick<Victims, 'healthy' | 'banned' | 'robbed' | 'evicted'>): Promise<Credential> {
    const { server } = this;
    const expiresAt = Math.floor(Date.now() / 1000) + 3;
    const entry = (id: string, parent: Credential, more: object = {}) => ({
      id,
      spiffeId: spiffe(`/${id}`),
      parentId: parent.spiffeId,
      selectors: ['unix:uid:1000'],
      ...more,
    });
    await server.admin('Entries/CreateEntries', {
      entries: [
        entry('web', healthy),
        entry('somebody', healthy, { profile: 'revocable', admin: true }),
        ...Array.from({ length: nestedWorkloads }, (_, at) =>
          entry(`nested-${at}`, healthy, { downstream: true, profile: 'revocable' }),
        ),
        entry('expired', healthy, { expiresAt }),
        entry('deleted', healthy),
        entry('banned', banned),
        entry('robbed', robbed),
        entry('evicted', evicted),
      ],
    });
    const revoked = await this.#svid(healthy, 'somebody');
    this.#step();
    await server.admin('Entries/DeleteEntries', { ids: ['deleted'] });
    await past(expiresAt);
    return revoked;
  }

  async #svid(agent: Credential, entryId: string): Promise<Credential> {
    const privateKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const { results } = await unaryCall(
      this.server.client(agent),
      '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
      {
        items: [
          {
            requestId: uuidv7(),
            entryId,
            csrDer: createCsr(privateKey),
            selectors: [{ type: 'unix', value: 'uid:1000' }],
          },
        ],
      },
    );
    const svid = results[0]?.svid;
    if (!svid) throw new Error(`no leaf: ${String(results[0]?.refusal?.code)}`);
    return { spiffeId: svid.spiffeId, serial: svid.serial, chainDer: svid.chainDer, privateKey };
  }

  /** An old JWT authority that is tainted, and evidence for the present one. */
  async #rotateJwt(healthy: Credential): Promise<Pick<Victims, 'jwtId'>> {
    const { admin } = this.server;
    // as long as a token of it lives, the old authority stays
    await unaryCall(this.server.client(healthy), '/meshca.issuer.v1.AgentIssuer/SignJwtSvid', {
      requestId: uuidv7(),
      entryId: 'web',
      audience: ['drill'],
      selectors: [{ type: 'unix', value: 'uid:1000' }],
    });
    const inState = async (state: string): Promise<readonly string[]> =>
      (await admin('Authorities/ListAuthorities')).authorities.flatMap((each) =>
        each.kind === 'jwt' && each.state === state ? [each.id] : [],
      );
    const [old = ''] = await inState('active');
    await admin('Authorities/RotateAuthorities', { kind: 'jwt', force: true, reason: 'drill' });
    await until(async () => (await inState('old')).includes(old), 'another JWT authority signs');
    this.#step();
    await admin('Authorities/TaintAuthority', {
      id: old,
      windowSeconds: 86_400,
      reason: 'drill',
    });
    const [jwtId = ''] = await inState('active');
    return { jwtId };
  }

  /**
   * By schedule the successor of every kind is due. Each waits for agents that have not confirmed:
   * it must not be activated, and no other may be made in its place.
   */
  async #waitingRotations(): Promise<void> {
    const { server } = this;
    this.#step();
    Object.assign(server.config.rotation, { automatic: true, prepareAtPercent: 1e-6 });
    await server.restart();
    await until(async () => {
      const { authorities } = await server.admin('Authorities/ListAuthorities');
      return authorities.filter(({ state }) => state === 'published').length === 3;
    }, 'the successors are published');
  }
}
