import { lanAddress } from '../../test/support/lan.ts';
import { freePort } from '../../test/support/ports.ts';
import type { ServerProcess } from '../server-child.ts';
import { createWorld, trustDomain, type World } from '../world.ts';
import { AcmeTransport, type Eab, type Identifier } from './client.ts';
import { HttpResponder } from './responder.ts';

/** A server with ACME, and what its validations reach. */
export interface AcmeServerWorld extends AsyncDisposable {
  readonly world: World;
  readonly responder: HttpResponder;
  /** Where this machine answers challenges. */
  readonly address: Identifier;
  readonly transport: AcmeTransport;
  /** Starts a server, and learns its roots. */
  start(): Promise<ServerProcess>;
  createTenant(name: string): Promise<void>;
  /** A key of a tenant. Without changes its accounts show their names by challenges. */
  createEabKey(tenant: string, changes?: object): Promise<Eab>;
}

export interface AcmeServerOptions {
  readonly signal: AbortSignal;
  /** Further settings of the section `acme`. */
  readonly acme?: object;
  readonly issuance?: object;
}

/** The DNS suffix that a tenant of the drill owns. */
export const suffixOf = (tenant: string): string => `${tenant}.${trustDomain}`;

export async function createAcmeServer({
  signal,
  acme = {},
  issuance = {},
}: AcmeServerOptions): Promise<AcmeServerWorld> {
  await using stack = new AsyncDisposableStack();
  const lan = lanAddress();
  const responder = stack.use(await HttpResponder.listen(lan));
  const port = await freePort();
  const baseUrl = `https://localhost:${port}`;
  const world = stack.use(
    await createWorld({
      signal,
      issuance,
      sections: sectionsOf({ baseUrl, port, lan, httpPort: responder.port, acme }),
    }),
  );
  const transport = new AcmeTransport(`${baseUrl}/acme/directory`);
  stack.defer(() => transport.close());
  const owned = stack.move();
  return {
    world,
    responder,
    address: { type: 'ip', value: lan },
    transport,
    start: async () => {
      const server = world.start();
      await server.ready;
      transport.trust((await world.calls.learnRoots()).map(pemOf).join(''));
      return server;
    },
    createTenant: async (name) => {
      await world.calls.admin('Tenants/CreateTenant', {
        tenant: { name, description: 'drill', dnsSuffixes: [suffixOf(name)] },
      });
    },
    createEabKey: async (tenant, changes = {}) => {
      const { key, macKey } = await world.calls.admin('Acme/CreateEabKey', {
        tenant,
        description: 'drill',
        dnsPatterns: [`*.${suffixOf(tenant)}`],
        ipRanges: [`${lan}/32`],
        profiles: ['short'],
        ...changes,
      });
      return { kid: key.id as string, macKey: macKey as Buffer };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** @param options.lan the one address that validations may dial */
const sectionsOf = (options: {
  readonly baseUrl: string;
  readonly port: number;
  readonly lan: string;
  readonly httpPort: number;
  readonly acme: object;
}) => ({
  names: { enabled: true },
  http: {
    publicBaseUrl: options.baseUrl,
    plain: { enabled: false },
    tls: { enabled: true, port: options.port },
  },
  acme: {
    enabled: true,
    validation: { allowedNetworks: [`${options.lan}/32`], httpPort: options.httpPort },
    limits: acmeLimits,
    ...options.acme,
  },
});

const pemOf = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toString('base64')}\n-----END CERTIFICATE-----\n`;

/** A drill asks for more than any client. */
const many = { count: 1_000_000, seconds: 60 };
const acmeLimits = {
  ordersPerAccount: many,
  ordersPerNames: many,
  ordersPerTenant: many,
  failuresPerName: many,
  ordersPerSecond: 100_000,
  accountsPerSecond: 100_000,
  anonymousPerSecond: 100_000,
};
