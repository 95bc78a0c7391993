import type { AcmeServer } from './table.ts';
import type { AcmeWorld } from './world.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';

const day = 86_400;

/** The product behind the gateway, with a tenant for the clients, and one with a small quota. */
export async function startAcmeProduct(
  world: AcmeWorld,
  clients: number,
): Promise<AcmeServer & AsyncDisposable> {
  const { publicBaseUrl, address, httpPort, httpsPort, names } = world;
  const server = await startTestServer({
    config: {
      names: { enabled: true },
      issuance: { crlBaseUrl: 'http://ca.test/crl' },
      http: { publicBaseUrl },
      acme: {
        enabled: true,
        caaIdentities: ['ca.example.org'],
        validation: {
          allowedNetworks: [`${address}/32`],
          resolvers: [...names.addresses],
          httpPort,
          httpsPort,
        },
      },
    },
  });
  world.gateway.upstream = server.server.httpPorts.plain as number;
  await createTenant(server, 'shop', 'shop.example.org', 0);
  await createTenant(server, 'small', 'small.example.org', clients);
  const keyFor = async (tenant: string, dnsPatterns: readonly string[], wildcards: boolean) => {
    const { key, macKey } = await server.admin('Acme/CreateEabKey', {
      ...{ tenant, wildcards, dnsPatterns: [...dnsPatterns], profiles: ['classic'] },
      ipRanges: tenant === 'shop' ? [`${address}/32`] : [],
    });
    return { kid: key?.id ?? '', hmac: Buffer.from(macKey).toString('base64url') };
  };
  return {
    directory: `${publicBaseUrl}/acme/directory`,
    binding: () => keyFor('shop', ['*.shop.example.org', '*.*.shop.example.org'], true),
    smallBinding: () => keyFor('small', ['*.small.example.org'], false),
    isRevoked: async (serial) => {
      const { revokedAt } = await server.admin('Certificates/GetCertificate', { serial });
      return Number(revokedAt) > 0;
    },
    async revoke(serial) {
      await server.admin('Certificates/RevokeCertificate', { serial, reason: 'superseded' });
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function createTenant(
  server: TestServer,
  name: string,
  suffix: string,
  quotaCertificates: number,
): Promise<void> {
  await server.admin('Tenants/CreateTenant', {
    tenant: {
      ...{ name, description: '', dnsSuffixes: [suffix], spiffePrefixes: [] },
      ...{ quotaCertificates, quotaSeconds: quotaCertificates === 0 ? 0 : day },
    },
    dryRun: false,
  });
}
