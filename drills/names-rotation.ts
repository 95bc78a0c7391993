import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PkiError } from '../src/common/errors/index.ts';
import { createCsr, generateKeyPairAsync } from '../src/common/x509/index.ts';
import { machine, type Machine } from '../test/support/machine.ts';
import { startTestServer, type TestServer } from '../test/support/server.ts';
import { until } from '../test/support/until.ts';
import { Breaches, type Drill } from './drill.ts';
import {
  NamesVerifier,
  refusedHandshakes,
  type NamesEndpoint,
  type RelyingParty,
} from './names-clients.ts';

const day = 86_400;
const hour = 3_600;
const playDays = 12;
const publishedSeconds = 3 * day;
/** OpenSSL is asked the same once in so many seconds of the moved clock. */
const slotSeconds = 6 * hour;

/**
 * The root of names is rotated by time and cross-certificate. The clock of the server is moved: the
 * play begins twelve days ago and ends now, so that its last handshakes are real.
 */
export const namesRotation: Drill = {
  name: 'names-rotation',
  promise:
    'the root of names is replaced by the time since its publication and a cross-certificate, ' +
    'and no relying party that reads the roots daily is cut off; after a taint the report says who is',
  options: ['--clients N   relying parties (200; short 40)'],
  async run({ short, options, say, signal }) {
    const clients = Number(options['clients'] ?? (short ? 40 : 200));
    const breaches = new Breaches();
    const on = machine(-playDays * day);
    const dir = await mkdtemp(join(tmpdir(), 'meshca-names-'));
    try {
      await using server = await startTestServer({
        clock: on.clock,
        boot: on.boot,
        config: {
          names: { enabled: true, rootPublishedSeconds: publishedSeconds },
          issuance: { crlBaseUrl: 'http://ca.drill.test/crl' },
        },
      });
      const play = new Play({ server, on, breaches, verifier: new NamesVerifier(dir) });
      await play.begin(clients);
      const rotated = await rotation(play, { say, signal });
      const handshakes = await realHandshakes(play, say);
      const rest = await taint(play, say);
      return {
        figures: { clients, ...rotated, ...handshakes, ...rest },
        broken: breaches.list,
      };
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  },
};

interface PlayParts {
  readonly server: TestServer;
  readonly on: Machine;
  readonly breaches: Breaches;
  readonly verifier: NamesVerifier;
}

/** The server, its endpoints and those who connect to them, on one moved clock. */
class Play {
  readonly parts: PlayParts;
  readonly parties: RelyingParty[] = [];
  readonly startedAt: number;
  /** Renews at two thirds of its life. */
  www!: NamesEndpoint;
  /** Lives for 30 days, and does not renew. */
  idle!: NamesEndpoint;
  /** Gets a new certificate at the very moment at which the new root signs. */
  eager!: NamesEndpoint;
  checks = 0;
  polls = 0;
  cutOff = 0;

  constructor(parts: PlayParts) {
    this.parts = parts;
    this.startedAt = parts.on.clock.now();
  }

  get now(): number {
    return this.parts.on.clock.now();
  }

  async begin(clients: number): Promise<void> {
    const rootsPem = await this.roots();
    for (let index = 0; index < clients; index += 1)
      this.parties.push({
        rootsPem,
        // one of twenty is never started again
        readsAt: index % 20 === 0 ? undefined : Math.floor((index / clients) * day),
      });
    this.www = await this.issue('www.drill.example', 'short');
    this.idle = await this.issue('idle.drill.example', 'classic');
    this.eager = await this.issue('eager.drill.example', 'short');
  }

  get asleep(): readonly RelyingParty[] {
    return this.parties.filter(({ readsAt }) => readsAt === undefined);
  }

  async roots(): Promise<string> {
    const { plain } = this.parts.server.server.httpPorts;
    return (await fetch(`http://127.0.0.1:${plain}/names/roots.pem`)).text();
  }

  async issue(name: string, profile: string): Promise<NamesEndpoint> {
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const { chainDer, notAfter } = await this.parts.server.admin('Certificates/IssueCertificate', {
      dnsNames: [name],
      csrDer: createCsr(privateKey),
      profile,
    });
    return { name, chainDer, privateKey, issuedAt: this.now, notAfter };
  }

  /** An hour goes by: parties read the roots, endpoints renew, and each party connects to each. */
  async passHour(): Promise<void> {
    const from = (this.now - this.startedAt) % day;
    this.parts.on.pass(hour);
    for (const party of this.parties) {
      const { readsAt } = party;
      if (readsAt === undefined || readsAt < from || readsAt >= from + hour) continue;
      party.rootsPem = await this.roots();
      this.polls += 1;
    }
    for (const each of ['www', 'eager'] as const) {
      const { issuedAt, notAfter, name } = this[each];
      if (this.now >= issuedAt + ((notAfter - issuedAt) * 2) / 3)
        this[each] = await this.issue(name, 'short');
    }
    await this.connectAll();
  }

  async connectAll(): Promise<void> {
    const at = this.now;
    const slot = Math.floor((at - this.startedAt) / slotSeconds);
    for (const endpoint of [this.www, this.idle, this.eager]) {
      const verdicts = await Promise.all(
        this.parties.map((party) => this.parts.verifier.refusal(party, endpoint, { at, slot })),
      );
      for (const refusal of verdicts) {
        this.checks += 1;
        if (refusal === undefined) continue;
        this.cutOff += 1;
        this.parts.breaches.add(`a relying party is cut off from ${endpoint.name}: ${refusal}`);
      }
    }
  }

  /** The state of each authority of names, by kind. */
  async states(kind: string): Promise<ReadonlyMap<string, string>> {
    const { authorities } = await this.parts.server.admin('Authorities/ListAuthorities', { kind });
    return new Map(
      authorities
        .filter(({ token }) => token !== 'external')
        .map(({ id, state }) => [id, state] as const),
    );
  }
}

async function rotation(
  play: Play,
  { say, signal }: { readonly say: (text: string) => void; readonly signal: AbortSignal },
): Promise<Readonly<Record<string, unknown>>> {
  const { server, breaches } = play.parts;
  for (let at = 0; at < 12; at += 1) await play.passHour();
  say('the root of names is rotated');
  const { operations } = await server.admin('Authorities/RotateAuthorities', {
    kind: 'names-root',
  });
  const successorId = operations[0]?.successorId ?? '';
  const stateOf = async (): Promise<string | undefined> =>
    (await play.states('names-root')).get(successorId);
  const crosses = async (): Promise<number> =>
    (
      await server.admin('Authorities/ListAuthorities', { kind: 'names-issuing' })
    ).authorities.filter(({ token, state }) => token === 'external' && state === 'published')
      .length;
  await until(async () => (await stateOf()) === 'published', 'the new root is published');
  const publishedAt = play.now;
  await until(async () => (await crosses()) === 1, 'the earlier root certified the new one');
  while (play.now + hour < publishedAt + publishedSeconds) {
    signal.throwIfAborted();
    await play.passHour();
    const state = await stateOf();
    breaches.expect(state === 'published', `the new root is ${state} before its time`);
  }
  await play.passHour();
  await until(async () => (await stateOf()) === 'active', 'the new root signs');
  const activatedAfterSeconds = play.now - publishedAt;
  say('the new root signs; its issuing authority follows at once');
  const replaced = async (): Promise<boolean> => {
    const { authorities } = await server.admin('Authorities/ListAuthorities', {
      kind: 'names-issuing',
      state: 'active',
    });
    return authorities.length === 1 && authorities[0]?.parentId === successorId;
  };
  await until(replaced, 'the next issuing authority of names signs');
  play.eager = await play.issue(play.eager.name, 'short');
  breaches.expect(
    play.eager.chainDer.length === 3,
    'the chain does not end with the cross-certificate',
  );
  await play.connectAll();
  while (play.now + hour <= play.startedAt + playDays * day) {
    signal.throwIfAborted();
    await play.passHour();
  }
  return {
    activatedAfterSeconds,
    days: Math.round((play.now - play.startedAt) / day),
    polls: play.polls,
    verifications: play.checks,
    byOpenssl: play.parts.verifier.made,
    cutOff: play.cutOff,
  };
}

async function realHandshakes(
  play: Play,
  say: (text: string) => void,
): Promise<Readonly<Record<string, unknown>>> {
  say('the moved clock is the real one: each relying party makes real handshakes');
  let refused = 0;
  for (const endpoint of [play.www, play.idle, play.eager])
    refused += await refusedHandshakes(play.parties, endpoint);
  play.parts.breaches.expect(refused === 0, `${refused} real handshakes were refused`);
  return { handshakes: 3 * play.parties.length, refusedHandshakes: refused };
}

/** The earlier root is tainted and revoked by force. Who is cut off is what the report said. */
async function taint(
  play: Play,
  say: (text: string) => void,
): Promise<Readonly<Record<string, unknown>>> {
  const { server, breaches } = play.parts;
  const old =
    [...(await play.states('names-root'))].find(([, state]) => state === 'old')?.[0] ?? '';
  const meshBefore = (await server.admin('Authorities/GetBundle')).bundleJson;
  say('the earlier root is tainted');
  await server.admin('Authorities/TaintAuthority', { id: old, reason: 'the drill' });
  const below = async (): Promise<boolean> =>
    [...(await play.states('names-issuing')).values()].filter((state) => state === 'tainted')
      .length === 1;
  await until(below, 'the authority below it is tainted');
  const report = await server.admin('Authorities/ListUnreplaced', { id: old });
  breaches.expect(
    report.certificates === 1 && report.owners[0]?.subject === `dns:${play.idle.name}`,
    `the report names ${JSON.stringify(report.owners)}, and ${play.idle.name} alone is left`,
  );
  const revoke = (force: boolean) =>
    server.admin('Authorities/RevokeAuthority', { id: old, reason: 'the drill', force });
  const refusal = await revoke(false).then(
    () => undefined,
    (error: PkiError) => error,
  );
  breaches.expect(
    refusal?.code === 'AUTHORITY_IN_USE' && refusal.message.includes('Cut off would be'),
    `revoking without force says ${refusal?.message ?? 'nothing'}`,
  );
  await revoke(true);
  const rootsPem = await play.roots();
  const readers = play.parties.filter(({ readsAt }) => readsAt !== undefined);
  for (const party of readers) party.rootsPem = rootsPem;
  const [idle, www, eager] = [
    await refusedHandshakes(readers, play.idle),
    await refusedHandshakes(readers, play.www),
    await refusedHandshakes(readers, play.eager),
  ];
  breaches.expect(
    idle === readers.length,
    `${play.idle.name} is still believed after the revocation`,
  );
  breaches.expect(www + eager === 0, `${www + eager} handshakes with replaced endpoints failed`);
  play.www = await play.issue(play.www.name, 'short');
  const asleep = await refusedHandshakes(play.asleep, play.www);
  breaches.expect(
    asleep === play.asleep.length,
    'a chain still ends with a cross-certificate of a revoked root',
  );
  const meshAfter = (await server.admin('Authorities/GetBundle')).bundleJson;
  breaches.expect(meshBefore === meshAfter, 'the taint changed the bundle of the mesh');
  return {
    reportedUnreplaced: report.certificates,
    reportedOwners: report.ownersTotal,
    cutOffFromUnreplaced: idle,
    neverReadAgain: play.asleep.length,
  };
}
