import { readFileSync } from 'node:fs';
import { startTestServer, testTrustDomain, type TestServer } from '../../support/server.ts';
import { startTokenIssuer, tokenAudience, type TokenIssuer } from '../../support/token-issuer.ts';
import type { Binding } from './client.ts';
import { Gateway } from './gateway.ts';
import { NameServers } from './name-servers.ts';
import { Network, type Machine } from './network.ts';
import type { AcmePrograms } from './programs.ts';

/** The names of docs/acme-clients.md. */
const directoryHost = 'ca.example.org';
const day = 86_400;

/** What an EAB key has of its own. */
export interface EabKeyChanges {
  readonly accounts?: 'single' | 'many';
  readonly dnsPatterns?: string[];
  readonly expiresAt?: number;
  readonly quotaCertificates?: number;
  readonly quotaSeconds?: number;
  readonly ttlSeconds?: number;
  readonly wildcards?: boolean;
}

/**
 * A server whose directory is `https://ca.example.org/acme/directory`, with two name servers of
 * `example.org`, and machines for its clients. The tenant `shop` owns the names below
 * `shop.example.org`, `other` those below `other.example.org`.
 */
export class Lab implements AsyncDisposable {
  readonly network: Network;
  readonly names: NameServers;
  readonly gateway: Gateway;
  readonly server: TestServer;
  /** Of the tokens of CI jobs. */
  readonly issuer: TokenIssuer;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: Pick<Lab, 'network' | 'names' | 'gateway' | 'server' | 'issuer'>,
    stack: AsyncDisposableStack,
  ) {
    this.network = parts.network;
    this.names = parts.names;
    this.gateway = parts.gateway;
    this.server = parts.server;
    this.issuer = parts.issuer;
    this.#stack = stack;
  }

  /** @param programs beside those of Debian, on every machine */
  static async open(
    acme: AcmePrograms,
    programs: Readonly<Record<string, string>> = {},
  ): Promise<Lab> {
    await using stack = new AsyncDisposableStack();
    const issuer = stack.use(await startTokenIssuer({ plain: true }));
    const network = stack.use(await Network.open({ packages: acme.debian, programs }));
    const { address } = network;
    const names = await NameServers.open(network, [
      `example.org. 60 CAA 0 issue "${directoryHost}"`,
      `${directoryHost}. 60 A ${address}`,
    ]);
    const gateway = stack.use(await Gateway.open({ address, port: 443, name: directoryHost }));
    const server = stack.use(
      await startTestServer({
        config: {
          names: { enabled: true },
          issuance: { crlBaseUrl: 'http://ca.test/crl' },
          http: { publicBaseUrl: `https://${directoryHost}` },
          tokens: { issuers: [jobIssuer(issuer)] },
          acme: {
            enabled: true,
            caaIdentities: [directoryHost],
            validation: { allowedNetworks: [network.range], resolvers: [...names.addresses] },
          },
        },
      }),
    );
    gateway.upstream = server.server.httpPorts.plain as number;
    for (const name of ['shop', 'other'])
      await server.admin('Tenants/CreateTenant', {
        tenant: {
          ...{ name, description: '', dnsSuffixes: [`${name}.example.org`] },
          spiffePrefixes: [`spiffe://${testTrustDomain}/${name}/`],
          ...{ quotaCertificates: 0, quotaSeconds: 0 },
        },
        dryRun: false,
      });
    return new Lab({ network, names, gateway, server, issuer }, stack.move());
  }

  /** Makes an EAB key of a tenant, for its names and the addresses of the machines. */
  async bind(tenant = 'shop', changes: EabKeyChanges = {}): Promise<Binding> {
    const suffix = `${tenant}.example.org`;
    const { key, macKey } = await this.server.admin('Acme/CreateEabKey', {
      ...{ tenant, wildcards: true, dnsPatterns: [`*.${suffix}`, `*.*.${suffix}`] },
      ...{ ipRanges: [this.network.range], profiles: ['classic'], ttlSeconds: 9 * day },
      ...changes,
    });
    return { kid: key?.id ?? '', hmac: Buffer.from(macKey).toString('base64url') };
  }

  /** A machine to which these names lead, and which trusts the directory by `/etc/meshca/roots.pem`. */
  async machine(...names: readonly string[]): Promise<Machine> {
    const machine = await this.network.add();
    await this.names.add(...names.map((name) => `${name}. A ${machine.address}`));
    await machine.write('/etc/meshca/roots.pem', readFileSync(this.gateway.caFile, 'utf8'));
    await machine.must('rm -f /etc/resolv.conf');
    const servers = this.names.addresses.map((address) => `nameserver ${address}\n`);
    await machine.write('/etc/resolv.conf', servers.join(''));
    return machine;
  }

  /** Tokens of jobs with these claims may have the names of the tenant `shop`, as docs/acme.md says. */
  async admitJobs(...selectors: readonly string[]): Promise<void> {
    const spiffeId = `spiffe://${testTrustDomain}/shop/ci`;
    const parentId = `spiffe://${testTrustDomain}/meshca/token-issuer/gitlab`;
    const { results } = await this.server.admin('Entries/CreateEntries', {
      entries: [{ spiffeId, parentId, selectors: [...selectors] }],
    });
    if (!results[0]?.entry) throw new Error(results[0]?.problem?.message);
    await this.server.admin('Delegations/CreateDelegation', {
      delegation: {
        ...{ clientId: spiffeId, dnsPatterns: ['*.shop.example.org'] },
        ...{ profile: 'short', maxTtlSeconds: 6 * day },
      },
    });
  }

  async isRevoked(serial: string): Promise<boolean> {
    const { revokedAt } = await this.server.admin('Certificates/GetCertificate', { serial });
    return Number(revokedAt) > 0;
  }

  /** As an operator does. */
  async revoke(serial: string): Promise<void> {
    await this.server.admin('Certificates/RevokeCertificate', { serial, reason: 'superseded' });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack[Symbol.asyncDispose]();
  }
}

/** The issuer in the configuration of the server. */
const jobIssuer = ({ url }: TokenIssuer) => ({
  ...{ name: 'gitlab', type: 'oidc', issuer: url, allowHttp: true },
  ...{ purposes: ['acme'], audiences: [tokenAudience] },
});
