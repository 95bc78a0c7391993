import { lanAddress } from '../../test/support/lan.ts';
import { freePort } from '../../test/support/ports.ts';
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
  const baseUrl = `http://127.0.0.1:${port}`;
  const world = stack.use(
    await createWorld({
      signal,
      issuance,
      sections: {
        names: { enabled: true },
        http: { publicBaseUrl: baseUrl, plain: { enabled: true, port } },
        acme: {
          enabled: true,
          validation: { allowedNetworks: [`${lan}/32`], httpPort: responder.port },
          limits: acmeLimits,
          ...acme,
        },
      },
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
