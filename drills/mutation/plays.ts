import { PkiError, unwrap } from '../../src/common/errors/index.ts';
import { parseCrl, sha256Hex } from '../../src/common/x509/index.ts';
import type { Ledger } from '../../src/ledger/index.ts';
import type { Credential, TestServer } from '../../test/support/server.ts';
import { AcmeCaller, type AcmeVictims } from './acme.ts';
import type { Alteration } from './alterations.ts';
import { Caller } from './caller.ts';
import type { Row } from './hand.ts';
import type { Nested, Victims } from './victims.ts';

/** Asks for one grant. What was granted, as text; or throws the refusal. */
type Play = () => Promise<string>;
type Plays = readonly (readonly [name: string, play: Play])[];

/** Of the callers of a pool each may ask seldom. */
interface Turn {
  readonly renewing: Credential;
  readonly nested: Nested;
}

/** The server that is asked. */
interface PlayedWorld {
  readonly server: TestServer;
  readonly victims: Victims;
  /** The store of the running server. */
  readonly store: Ledger;
}

/** Asks for every grant of the product: for healthy callers, and for every victim. */
export class Player {
  readonly #world: PlayedWorld;
  readonly #short: boolean;
  #turn = 0;
  /** The plays that the limit of a caller refused, so that they had no outcome, with their number. */
  readonly limited = new Map<string, number>();

  constructor(world: PlayedWorld, { short }: { readonly short: boolean }) {
    this.#world = world;
    this.#short = short;
  }

  /** All plays at once: they do not depend on each other. */
  async play(alteration?: Alteration): Promise<Outcomes> {
    const { server, victims, store } = this.#world;
    using caller = new Caller(server, victims);
    const plays = [
      ...healthyPlays(caller, server, victims, this.#turnOf(alteration)),
      ...victimPlays(caller, victims),
      ...acmePlays(new AcmeCaller(store), victims.acme),
    ];
    const played = await Promise.all(
      // it opens the root token each time, which the short form has no time for
      plays
        .filter(([name]) => !this.#short || name !== nestedPlay)
        .map(([name, play]) => this.#outcome(name, play)),
    );
    return new Map(played.flat());
  }

  async #outcome(name: string, play: Play): Promise<readonly [string, string][]> {
    try {
      return [[name, `granted ${await play()}`]];
    } catch (thrown) {
      const { code, detail } = PkiError.from(thrown);
      if (code !== 'RATE_LIMITED') return [[name, refusal + String(detail['code'] ?? code)]];
      this.limited.set(name, (this.limited.get(name) ?? 0) + 1);
      return [];
    }
  }

  /** Whose row alone is altered asks itself; else it is the next one's turn. */
  #turnOf(alteration: Alteration | undefined): Turn {
    const { renewing, nested } = this.#world.victims;
    this.#turn += 1;
    const changes = alteration?.changes ?? [];
    const row = changes.length === 1 ? changes[0]?.before : undefined;
    const next = <T>(pool: readonly T[], own: (each: T, of: Row) => boolean): T =>
      ((row && pool.find((each) => own(each, row))) ?? pool[this.#turn % pool.length]) as T;
    return {
      renewing: next(renewing, ({ spiffeId }, of) => Object.values(of).includes(spiffeId)),
      nested: next(
        nested,
        ({ entryId, credential }, of) =>
          Object.values(of).includes(entryId) || Object.values(of).includes(credential.serial),
      ),
    };
  }
}

export const authoritiesPlay = 'authorities after a look';
const nestedPlay = 'a CA downstream';

const healthyPlays = (
  caller: Caller,
  server: TestServer,
  victims: Victims,
  { renewing, nested }: Turn,
): Plays => [
  ['a leaf', () => caller.leaf(victims.healthy, 'web')],
  ['a JWT-SVID', () => caller.jwt(victims.healthy, 'web')],
  ['a delegated leaf', () => caller.delegated(victims.istiod, '/ns/a')],
  ['a certificate of a job', async () => caller.job(await victims.jobs.newToken())],
  ['entries for a reader', () => caller.entries(victims.reader)],
  ['renewal of an agent', () => caller.renew(renewing)],
  ['recovery after expiry', () => caller.recover(victims.asleep)],
  ['a ban and its end', () => caller.banAndUnban(victims.cycled)],
  [nestedPlay, () => caller.downstream(nested.credential)],
  [authoritiesPlay, () => caller.authorities()],
  ['evidence', () => caller.evidence()],
  ['roots and JWT keys', () => bundleText(server)],
  ['the CRL', () => crlText(server, victims)],
];

const victimPlays = (caller: Caller, victims: Victims): Plays => {
  const { healthy, banned, evicted, robbed, istiod, former, reader, stranger, revoked } = victims;
  const { used, ended } = victims.jobs;
  return [
    ['a certificate by the used token of a job', () => caller.job(used)],
    ['a certificate that was given back', () => caller.job(ended.token, ended.key)],
    ['attestation by a used token', () => caller.attest(victims.tokens.used)],
    ['attestation by a revoked token', () => caller.attest(victims.tokens.revoked)],
    ['renewal of a banned agent', () => caller.renew(banned)],
    ['renewal of an evicted agent', () => caller.renew(evicted)],
    ['renewal by a stolen certificate', () => caller.renew(robbed)],
    ['recovery of a banned agent', () => caller.recover(banned)],
    ['recovery of an evicted agent', () => caller.recover(evicted)],
    ['recovery by a stolen certificate', () => caller.recover(robbed)],
    ['attestation of a banned agent', () => caller.attest(victims.tokens.banned)],
    ['a CA downstream by a workload without the flag', () => caller.downstream(victims.plain)],
    ['a leaf by a banned agent', () => caller.leaf(banned, 'banned')],
    ['a leaf by a stolen certificate', () => caller.leaf(robbed, 'robbed')],
    ['a JWT-SVID by an evicted agent', () => caller.jwt(evicted, 'evicted')],
    ['a leaf of an expired entry', () => caller.leaf(healthy, 'expired')],
    ['a leaf of a deleted entry', () => caller.leaf(healthy, 'deleted')],
    ['a leaf of the entry of another agent', () => caller.leaf(healthy, 'banned')],
    ['a JWT-SVID of an expired entry', () => caller.jwt(healthy, 'expired')],
    ['a leaf by a revoked delegation', () => caller.delegated(former, '/old/a')],
    ['a leaf that the policy denies', () => caller.delegated(istiod, '/ns/forbidden')],
    ['a leaf outside the delegation', () => caller.delegated(istiod, '/old/a')],
    ['a delegated leaf for an admin', () => caller.delegated(stranger, '/ns/a')],
    ['entries for an admin without a role', () => caller.entries(stranger)],
    ['entries for a revoked admin', () => caller.entries(revoked)],
    ['an eviction by a reader', () => caller.evict(reader, healthy)],
    ['an un-ban by a reader', () => caller.evict(reader, banned)],
    ['an approval that was given before', () => caller.approve(victims.replayed)],
    ['an approval of an executed operation', () => caller.approve(victims.executed)],
  ];
};

const acmePlays = (caller: AcmeCaller, victims: AcmeVictims): Plays => {
  const { healthy, keyless, deactivated, former, alone, exchanged, orphaned } = victims;
  return [
    ['the names of tenants', () => caller.tenants()],
    ['an order of an ACME account', () => caller.order(healthy)],
    ['the key of an ACME account', () => caller.account(healthy)],
    ['what an EAB key allows', () => caller.key(healthy)],
    ['the CSR of an order', () => caller.csr(victims.finalizing)],
    ['issuing from an order', () => caller.issue(victims.finalizing, healthy)],
    ['an order by a revoked EAB key', () => caller.order(keyless)],
    ['what a revoked EAB key allows', () => caller.key(keyless)],
    ['an order by an EAB key that was exchanged', () => caller.order(exchanged)],
    ['an order by one whose delegation was revoked', () => caller.order(orphaned)],
    ['an account by one whose delegation was revoked', () => caller.bind(orphaned)],
    ['an order of a deactivated account', () => caller.order(deactivated)],
    ['the key of a deactivated account', () => caller.account(deactivated)],
    ['an order for an ended tenant', () => caller.order(former)],
    ['a second account by an EAB key for one', () => caller.bind(alone)],
    ['issuing after a deactivation', () => caller.issue(victims.deauthorized, healthy)],
    ['issuing from a failed order', () => caller.issue(victims.failed, healthy)],
    ['the CSR of a failed order', () => caller.csr(victims.failed)],
  ];
};

async function bundleText(server: TestServer): Promise<string> {
  const { rootsDer, bundleJson } = await server.admin('Authorities/GetBundle');
  const { keys } = JSON.parse(bundleJson) as { keys: readonly { kid?: string; use?: string }[] };
  return [
    ...rootsDer.map((der) => sha256Hex(der).slice(0, 8)),
    ...keys.map(({ kid = '', use = '' }) => `${use} ${kid}`),
  ]
    .sort()
    .join();
}

/** The serials of the CRL of the issuing authority. */
async function crlText(server: TestServer, { issuingId }: Victims): Promise<string> {
  const url = `http://127.0.0.1:${server.server.httpPorts.plain}/crl/${issuingId}.crl`;
  // the server may close a connection that was kept, just as the next request takes it
  const response = await fetch(url).catch(() => fetch(url));
  if (!response.ok) throw new PkiError('NOT_FOUND', `the CRL is answered ${response.status}`);
  const crl = unwrap(parseCrl(Buffer.from(await response.arrayBuffer())));
  return [...crl.revoked.keys()].sort().join();
}

export type Outcomes = ReadonlyMap<string, string>;
const refusal = 'refused ';
export const isRefused = (outcome: string | undefined): boolean =>
  outcome?.startsWith(refusal) === true;
