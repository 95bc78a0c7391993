import type { Client } from '@grpc/grpc-js';
import { PkiError, unwrap } from '../../src/common/errors/index.ts';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import { createCsr, parseCertificate, parseCrl, sha256Hex } from '../../src/common/x509/index.ts';
import {
  attestByToken,
  serverStreamCall,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../test/support/server.ts';
import { recover } from './recovery.ts';
import type { Victims } from './world.ts';

/** Asks for one grant. What was granted, as text; or throws the refusal. */
export type Play = () => Promise<string>;

const spiffe = (path: string): string => `spiffe://mesh.test${path}`;
const selectors = [{ type: 'unix', value: 'uid:1000' }];

/** Names, life, issuer and uses of a leaf. */
function leafText(der: Buffer | undefined): string {
  const leaf = unwrap(parseCertificate(der ?? Buffer.alloc(0)));
  return JSON.stringify([
    leaf.uriSans,
    leaf.dnsSans,
    leaf.notAfter - leaf.notBefore,
    sha256Hex(leaf.issuerDer).slice(0, 8),
    [...(leaf.keyUsage?.names ?? [])],
    leaf.extendedKeyUsage,
  ]);
}

/** The claims of a token without its instants and ID, and its key. */
function tokenText(token: string): string {
  const [header, claims] = token
    .split('.')
    .slice(0, 2)
    .map(
      (part) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as Record<string, any>,
    );
  return JSON.stringify([
    header?.['kid'],
    claims?.['sub'],
    claims?.['aud'],
    Number(claims?.['exp']) - Number(claims?.['iat']),
  ]);
}

/** Asks the server for one grant after the other. */
class Caller {
  readonly #server: TestServer;
  readonly #victims: Victims;
  readonly #csrDer: Buffer;
  /** One connection for each caller. */
  readonly #clients = new Map<Credential | undefined, Client>();

  constructor(server: TestServer, victims: Victims) {
    this.#server = server;
    this.#victims = victims;
    this.#csrDer = createCsr(victims.key);
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }

  async attest(token: string): Promise<string> {
    const options = { key: this.#victims.key };
    return leafText((await attestByToken(this.#client(), token, options)).chainDer[0]);
  }

  async renew(as: Credential): Promise<string> {
    const { chainDer } = await unaryCall(
      this.#client(as),
      '/meshca.issuer.v1.AgentIssuer/RenewAgent',
      { requestId: uuidv7(), csrDer: this.#csrDer, agentVersion: 'drill' },
    );
    return leafText(chainDer[0]);
  }

  async leaf(as: Credential, entryId: string): Promise<string> {
    const { results } = await unaryCall(
      this.#client(as),
      '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
      { items: [{ requestId: uuidv7(), entryId, csrDer: this.#csrDer, selectors }] },
    );
    const [result] = results;
    if (result?.svid) return leafText(result.svid.chainDer[0]);
    throw new PkiError('INTERNAL', 'refused', { detail: { code: String(result?.refusal?.code) } });
  }

  async jwt(as: Credential, entryId: string): Promise<string> {
    const { token } = await unaryCall(
      this.#client(as),
      '/meshca.issuer.v1.AgentIssuer/SignJwtSvid',
      { requestId: uuidv7(), entryId, audience: ['drill'], selectors },
    );
    return tokenText(token);
  }

  async delegated(as: Credential, path: string): Promise<string> {
    const { chainDer } = await unaryCall(this.#client(as), '/meshca.signing.v1.Signing/Sign', {
      requestId: uuidv7(),
      spiffeId: spiffe(path),
      csrDer: this.#csrDer,
    });
    return leafText(chainDer[0]);
  }

  /** A listing shows rows and grants nothing. Whether it is allowed is the grant. */
  async entries(as: Credential): Promise<string> {
    await unaryCall(this.#client(as), '/meshca.admin.v1.Entries/ListEntries', {});
    return 'a listing';
  }

  async evict(as: Credential, agent: Credential): Promise<string> {
    const { state } = await unaryCall(this.#client(as), '/meshca.admin.v1.Agents/EvictAgent', {
      spiffeId: agent.spiffeId,
      reason: 'drill',
    });
    return state;
  }

  /** An eviction ends a ban. */
  async banAndUnban({ spiffeId }: Credential): Promise<string> {
    const of = { spiffeId, reason: 'drill' };
    const banned = await this.#server.admin('Agents/BanAgent', of);
    const evicted = await this.#server.admin('Agents/EvictAgent', of);
    return `${banned.state} ${evicted.state}`;
  }

  async recover(as: Credential): Promise<string> {
    return leafText(await recover(this.#client(), as, this.#victims.key));
  }

  async downstream(as: Credential): Promise<string> {
    const { chainDer } = await unaryCall(
      this.#client(as),
      '/meshca.signing.v1.Signing/SignDownstreamAuthority',
      { requestId: uuidv7(), csrDer: this.#csrDer },
    );
    return leafText(chainDer[0]);
  }

  /** Who had confirmed when the JWT authority became active. */
  async evidence(): Promise<string> {
    const parts: string[] = [];
    await serverStreamCall(
      this.#server.adminClient(),
      '/meshca.admin.v1.Authorities/GetActivationEvidence',
      { id: this.#victims.jwtId },
      ({ statement, lines }) =>
        parts.push(statement ? statement.sha256 : sha256Hex(lines ?? Buffer.alloc(0))),
    );
    return parts.join();
  }

  async approve({ id, signature }: Victims['replayed']): Promise<string> {
    const request = { id, signature };
    const { operation } = await this.#server.admin('Approvals/SubmitApproval', request);
    return String(operation?.status);
  }

  #client(as?: Credential): Client {
    const client = this.#clients.get(as) ?? this.#server.client(as);
    this.#clients.set(as, client);
    return client;
  }
}

/**
 * Every grant of the product: to healthy callers, and to every victim. An authority that becomes
 * active, or that retires early, shows in the issuers and in the bundle.
 */
export async function playAll(
  server: TestServer,
  victims: Victims,
  { short }: { readonly short: boolean },
): Promise<Outcomes> {
  const caller = new Caller(server, victims);
  const plays: readonly (readonly [string, Play])[] = [
    ...healthyPlays(caller, server, victims),
    // it opens the root token each time, which the short form has no time for
    ...(short ? [] : [['a CA downstream', () => caller.downstream(victims.nested)] as const]),
    ...victimPlays(caller, victims),
  ];
  try {
    return await outcomesOf(plays);
  } finally {
    caller.close();
  }
}

const healthyPlays = (
  caller: Caller,
  server: TestServer,
  victims: Victims,
): readonly (readonly [string, Play])[] => [
  ['a leaf', () => caller.leaf(victims.healthy, 'web')],
  ['a JWT-SVID', () => caller.jwt(victims.healthy, 'web')],
  ['a delegated leaf', () => caller.delegated(victims.istiod, '/ns/a')],
  ['entries for a reader', () => caller.entries(victims.reader)],
  ['renewal of an agent', () => caller.renew(victims.renewing)],
  ['recovery after expiry', () => caller.recover(victims.asleep)],
  ['a ban and its end', () => caller.banAndUnban(victims.cycled)],
  ['evidence', () => caller.evidence()],
  ['roots and JWT keys', () => bundleText(server)],
  ['the CRL', () => crlText(server, victims)],
];

const victimPlays = (caller: Caller, victims: Victims): readonly (readonly [string, Play])[] => {
  const { healthy, banned, evicted, robbed, istiod, former, reader, stranger, revoked } = victims;
  return [
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
  const response = await fetch(
    `http://127.0.0.1:${server.server.httpPorts.plain}/crl/${issuingId}.crl`,
  );
  const crl = unwrap(parseCrl(Buffer.from(await response.arrayBuffer())));
  return [...crl.revoked.keys()].sort().join();
}

export type Outcomes = ReadonlyMap<string, string>;
const refusal = 'refused ';
export const isRefused = (outcome: string | undefined): boolean =>
  outcome?.startsWith(refusal) === true;

/**
 * Plays all at once: they do not depend on each other. What the limit of a caller refuses has no
 * outcome: each agent may renew every 5 s.
 */
async function outcomesOf(plays: readonly (readonly [string, Play])[]): Promise<Outcomes> {
  const played = await Promise.all(
    plays.map(async ([name, play]): Promise<readonly [string, string][]> => {
      try {
        return [[name, `granted ${await play()}`]];
      } catch (thrown) {
        const { code, detail } = PkiError.from(thrown);
        return code === 'RATE_LIMITED' ? [] : [[name, refusal + String(detail['code'] ?? code)]];
      }
    }),
  );
  return new Map(played.flat());
}
