import type { Client } from '@grpc/grpc-js';
import { PkiError, unwrap } from '../../src/common/errors/index.ts';
import type { RotationStatus__Output } from '../../src/common/wire/generated/meshca/admin/v1/RotationStatus.ts';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import { createCsr, parseCertificate, sha256Hex } from '../../src/common/x509/index.ts';
import {
  attestByToken,
  serverStreamCall,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../test/support/server.ts';
import { NotWithin, within } from '../within.ts';
import { recover } from './recovery.ts';
import type { Victims } from './victims.ts';

const spiffe = (path: string): string => `spiffe://mesh.test${path}`;
/** Rotation looks at each change. */
const lookPatienceMs = 20_000;
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
export class Caller {
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

  [Symbol.dispose](): void {
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
    return leafText(chainDer[0]).replace(as.spiffeId, 'its own ID');
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

  /** `key`: of the request; default that of the drill. */
  async job(token: string, key = this.#victims.key): Promise<string> {
    const { chainDer } = await unaryCall(
      this.#client(),
      '/meshca.issuer.v1.Pipelines/IssueWithToken',
      { token, csrDer: createCsr(key), spiffeId: '', ttlSeconds: 0 },
    );
    return leafText(chainDer[0]);
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

  /** An eviction ends a ban, and a new token brings the agent back. */
  async banAndUnban({ spiffeId }: Credential): Promise<string> {
    const of = { spiffeId, reason: 'drill' };
    const banned = await this.#server.admin('Agents/BanAgent', of);
    const evicted = await this.#server.admin('Agents/EvictAgent', of);
    const { token } = await this.#server.admin('Tokens/CreateJoinToken', { agentName: 'cycled' });
    return `${banned.state} ${evicted.state} ${await this.attest(token)}`;
  }

  /**
   * Every authority with its state, after rotation has looked once more: what is activated or
   * retired early, and what is made in the place of another, shows here. An authority that rotation
   * leaves out is refused, as long as nothing else has changed.
   */
  async authorities(): Promise<string> {
    const status = await this.#nextLook();
    const states = status.authorities.map(
      ({ authority }) => `${authority?.id.slice(-6)} ${authority?.kind} ${authority?.state}`,
    );
    const altered = status.notes.find(({ code }) => /^(AUTHORITY|ROTATION)_ALTERED$/.test(code));
    const known = this.#victims.states;
    if (altered !== undefined && states.every((state) => known.has(state)))
      throw new PkiError('OBJECT_NOT_IN_LOG', altered.code);
    return states.sort().join();
  }

  async #change(): Promise<void> {
    const of = { spiffeId: this.#victims.nudged.spiffeId, reason: 'drill' };
    await this.#server.admin('Agents/BanAgent', of);
    await this.#server.admin('Agents/EvictAgent', of);
  }

  /** The first message tells the present state; the next one follows a look. */
  async #nextLook(): Promise<RotationStatus__Output> {
    const seen: RotationStatus__Output[] = [];
    const client = this.#server.adminClient();
    const watch = serverStreamCall(
      client,
      '/meshca.admin.v1.Authorities/WatchRotation',
      {},
      (status) => {
        seen.push(status);
        // a change makes rotation look now, and not only within its second
        if (seen.length === 1) void this.#change().catch(() => {});
        return seen.length > 1;
      },
    );
    await within(watch, 'a look of rotation', lookPatienceMs).catch((thrown: unknown) => {
      throw thrown instanceof NotWithin
        ? new PkiError('STARTING_UP', 'rotation has not looked')
        : thrown;
    });
    const last = seen.at(-1);
    if (last === undefined) throw new Error('the watch of rotation ended');
    return last;
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
      ({ statement, lines }) => {
        parts.push(statement ? statement.sha256 : sha256Hex(lines ?? Buffer.alloc(0)));
      },
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
