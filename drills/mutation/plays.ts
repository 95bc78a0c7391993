import { PkiError, unwrap } from '../../src/common/errors/index.ts';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import { createCsr, parseCertificate, parseCrl, sha256Hex } from '../../src/common/x509/index.ts';
import {
  attestByToken,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../test/support/server.ts';
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

  constructor(server: TestServer, victims: Victims) {
    this.#server = server;
    this.#victims = victims;
    this.#csrDer = createCsr(victims.key);
  }

  async attest(token: string): Promise<string> {
    const options = { key: this.#victims.key };
    return leafText((await attestByToken(this.#server.client(), token, options)).chainDer[0]);
  }

  async renew(as: Credential): Promise<string> {
    const { chainDer } = await unaryCall(
      this.#server.client(as),
      '/meshca.issuer.v1.AgentIssuer/RenewAgent',
      { requestId: uuidv7(), csrDer: this.#csrDer, agentVersion: 'drill' },
    );
    return leafText(chainDer[0]);
  }

  async leaf(as: Credential, entryId: string): Promise<string> {
    const { results } = await unaryCall(
      this.#server.client(as),
      '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
      { items: [{ requestId: uuidv7(), entryId, csrDer: this.#csrDer, selectors }] },
    );
    const [result] = results;
    if (result?.svid) return leafText(result.svid.chainDer[0]);
    throw new PkiError('INTERNAL', 'refused', { detail: { code: String(result?.refusal?.code) } });
  }

  async jwt(as: Credential, entryId: string): Promise<string> {
    const { token } = await unaryCall(
      this.#server.client(as),
      '/meshca.issuer.v1.AgentIssuer/SignJwtSvid',
      { requestId: uuidv7(), entryId, audience: ['drill'], selectors },
    );
    return tokenText(token);
  }

  async delegated(as: Credential, path: string): Promise<string> {
    const { chainDer } = await unaryCall(
      this.#server.client(as),
      '/meshca.signing.v1.Signing/Sign',
      { requestId: uuidv7(), spiffeId: spiffe(path), csrDer: this.#csrDer },
    );
    return leafText(chainDer[0]);
  }

  /** A listing shows rows and grants nothing. Whether it is allowed is the grant. */
  async entries(as: Credential): Promise<string> {
    await unaryCall(this.#server.client(as), '/meshca.admin.v1.Entries/ListEntries', {});
    return 'a listing';
  }

  async evict(as: Credential): Promise<string> {
    const { state } = await unaryCall(
      this.#server.client(as),
      '/meshca.admin.v1.Agents/EvictAgent',
      { spiffeId: this.#victims.healthy.spiffeId, reason: 'drill' },
    );
    return state;
  }

  async approve({ id, signature }: Victims['replayed']): Promise<string> {
    const request = { id, signature };
    const { operation } = await this.#server.admin('Approvals/SubmitApproval', request);
    return String(operation?.status);
  }
}

/** Every grant of the product: to healthy callers, and to every victim. */
export const playsOf = (server: TestServer, victims: Victims): ReadonlyMap<string, Play> => {
  const caller = new Caller(server, victims);
  return new Map([...healthyPlays(caller, server, victims), ...victimPlays(caller, victims)]);
};

const healthyPlays = (
  caller: Caller,
  server: TestServer,
  victims: Victims,
): readonly (readonly [string, Play])[] => [
  ['a leaf', () => caller.leaf(victims.healthy, 'web')],
  ['a JWT-SVID', () => caller.jwt(victims.healthy, 'web')],
  ['a delegated leaf', () => caller.delegated(victims.istiod, '/ns/a')],
  ['entries for a reader', () => caller.entries(victims.reader)],
  ['roots', () => bundleText(server)],
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
    ['an eviction by a reader', () => caller.evict(reader)],
    ['an approval that was given before', () => caller.approve(victims.replayed)],
    ['an approval of an executed operation', () => caller.approve(victims.executed)],
  ];
};

async function bundleText(server: TestServer): Promise<string> {
  const { rootsDer } = await server.admin('Authorities/GetBundle');
  return rootsDer
    .map((der) => der.toString('base64'))
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

/** Plays all at once: they do not depend on each other. */
export async function playAll(plays: ReadonlyMap<string, Play>): Promise<Outcomes> {
  return new Map(
    await Promise.all(
      [...plays].map(async ([name, play]): Promise<[string, string]> => {
        try {
          return [name, `granted ${await play()}`];
        } catch (thrown) {
          const { code, detail } = PkiError.from(thrown);
          return [name, refusal + String(detail['code'] ?? code)];
        }
      }),
    ),
  );
}
