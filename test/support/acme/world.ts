import { createPublicKey, type KeyObject } from 'node:crypto';
import { silentLogger, systemRandom, uuidv7 } from '../../../src/common/runtime/index.ts';
import { sha256Hex } from '../../../src/common/x509/index.ts';
import type { AcmeOrder, EabKey, Rights, Tenant } from '../../../src/domain/index.ts';
import { HttpFront } from '../../../src/server/http/index.ts';
import { acmePlugin } from '../../../src/server/http/plugins/acme/index.ts';
import type { TokenVerifier } from '../../../src/services/tokens/index.ts';
import { ServerMetrics } from '../../../src/server/metrics.ts';
import { certificateIdOf } from '../../../src/services/acme/certificate-id.ts';
import { createAcme } from '../../../src/services/acme/create-acme.ts';
import { tokenExchange } from '../../../src/services/acme/token-exchange.ts';
import { eabMacKey } from '../../../src/services/acme/eab-secret.ts';
import type { LimitSettings } from '../../../src/services/acme/limits.ts';
import { statedCsr } from '../csr.ts';
import { freePort } from '../ports.ts';
import { createServicesWorld, newKey, type ServicesWorld } from '../services-world.ts';
import {
  acmeKey,
  AcmeWire,
  base64url,
  binding,
  jws,
  type AcmeKey,
  type AcmeReply,
} from './wire.ts';

export interface TestEabKey {
  readonly id: string;
  readonly mac: Buffer;
}

export interface IssuedCertificate {
  readonly der: Buffer;
  readonly serial: string;
  readonly key: KeyObject;
  readonly orderUrl: string;
  /** RFC 9773 section 4.1. */
  readonly ariId: string;
}

/** An account and its key. */
export interface AcmeClient {
  readonly key: AcmeKey;
  readonly kid: string;
  readonly eab: TestEabKey;
  /** The body of a request that was not sent yet. */
  signed(url: string, payload: object | string | undefined): Promise<object>;
  post(url: string, payload: object | string | undefined): Promise<AcmeReply>;
  /** Makes an order, for `www.shop.test` unless names are stated. Resolves to its URL. */
  order(...names: readonly string[]): Promise<string>;
  certificate(key?: KeyObject): Promise<IssuedCertificate>;
}

/** ACME over HTTP and a real store. The tenant `shop` owns `shop.test`. */
export interface AcmeWorld extends AsyncDisposable {
  readonly services: ServicesWorld;
  readonly wire: AcmeWire;
  readonly metrics: ServerMetrics;
  readonly nonceSeconds: number;
  readonly orderSeconds: number;
  url(path: string): string;
  /** Without changes: one that grants names one label below `shop.test`, without proof. */
  eabKey(over?: Partial<EabKey>): Promise<TestEabKey>;
  revokeEabKey(id: string): Promise<void>;
  endTenant(): Promise<void>;
  /** Blocks a key for ever. */
  blockKey(key: AcmeKey): Promise<void>;
  account(over?: { readonly eab?: TestEabKey; readonly key?: AcmeKey }): Promise<AcmeClient>;
  /** Another process in the place of this one, with the same database and keys. */
  restart(): Promise<void>;
  /** Another process beside this one. `at`: where it answers what has this URL. */
  another(): Promise<AsyncDisposable & { at(url: string): string }>;
  /** The order with this URL, as it is stored. */
  orderOf(url: string): Promise<AcmeOrder | undefined>;
  /** Whatever a request could change. */
  state(): Promise<object>;
}

const nonceSeconds = 3_600;
const orderSeconds = 86_400;
const eventOf = (services: ServicesWorld, kind: string, subject: string) => ({
  ...{ timeMs: services.clock.nowMs(), actor: 'uid:0', detail: {} },
  ...{ kind, subject },
});

// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
export async function createAcmeWorld(
  over: Partial<LimitSettings> = {},
  remains?: ServicesWorld['remains'],
  verifier?: TokenVerifier,
): Promise<AcmeWorld> {
  const services = await createServicesWorld({ revocable: true }, remains, {
    ...(verifier === undefined ? {} : { verifier }),
  });
  const { store, clock } = services;
  const port = await freePort();
  const baseUrl = `http://127.0.0.1:${port}`;
  const wire = new AcmeWire(`${baseUrl}/acme`);
  const url = (path: string): string => `${wire.base}/${path}`;
  const metrics = new ServerMetrics();
  const listen = () => serve(services, { baseUrl, port, over, observe: metrics.acme });
  let server = await listen();
  const now = clock.now();
  await store.tenants.create(
    {
      ...{ name: 'shop', description: '', dnsSuffixes: ['shop.test'], spiffePrefixes: [] },
      ...{ quotaCertificates: 0, quotaSeconds: 0, state: 'active', version: 1 },
      ...{ createdAt: now, updatedAt: now, createdBy: 'uid:0' },
    },
    eventOf(services, 'tenant.created', 'shop'),
  );
  await services.tenantOwners.refresh();
  const write = (kind: string, subject: string, rights: Rights = []) => ({
    rights,
    event: eventOf(services, kind, subject),
  });
  const world: AcmeWorld = {
    ...{ services, wire, metrics, nonceSeconds, orderSeconds, url },
    async eabKey(over = {}) {
      const key: EabKey = { ...usualKey(clock.now()), id: uuidv7(clock.nowMs()), ...over };
      await store.acme.eabKeys.create(key, write('eab-key.created', key.id));
      return { id: key.id, mac: await eabMacKey(services.mac, key.id) };
    },
    async revokeEabKey(id) {
      const key = (await store.acme.eabKeys.byId(id)) as EabKey;
      await store.acme.eabKeys.update(
        { ...key, revokedAt: clock.now(), version: key.version + 1 },
        write('eab-key.revoked', id),
      );
    },
    async endTenant() {
      const tenant = (await store.tenants.byName('shop')) as Tenant;
      await store.tenants.update(
        { ...tenant, state: 'ended', version: tenant.version + 1 },
        eventOf(services, 'tenant.ended', 'shop'),
      );
      await services.tenantOwners.refresh();
    },
    async blockKey({ privateKey }) {
      const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
      const publicKeySha256 = sha256Hex(spki);
      const stated = { reason: 'stolen', blockedAt: clock.now(), blockedBy: 'uid:0' };
      await store.blockedKeys.block(
        { publicKeySha256, ...stated },
        eventOf(services, 'key.blocked', publicKeySha256),
      );
    },
    account: async ({ eab, key = acmeKey() } = {}) =>
      createClient(world, { eab: eab ?? (await world.eabKey()), key }),
    async restart() {
      await server[Symbol.asyncDispose]();
      server = await listen();
    },
    async another() {
      const otherPort = await freePort();
      const other = await serve(services, {
        ...{ baseUrl, port: otherPort, over, observe: metrics.acme },
      });
      return {
        at: (to) => to.replace(`:${port}/`, `:${otherPort}/`),
        [Symbol.asyncDispose]: () => other[Symbol.asyncDispose](),
      };
    },
    orderOf: (orderUrl) => store.acme.orders.byId(orderUrl.split('/').at(-1) as string),
    async state() {
      const { items: accounts } = await store.acme.accounts.list({}, { size: 1_000 });
      const { items: orders } = await store.acme.orders.list({}, { size: 1_000 });
      const { items: log } = await store.audit.list({}, { size: 1_000 });
      const effects = log.filter(({ kind }) => !/refused|denied/.test(kind));
      return {
        accounts,
        orders,
        records: effects.map(({ kind, subject }) => `${kind} ${subject}`),
      };
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await services[Symbol.asyncDispose]();
    },
  };
  return world;
}

async function createClient(
  { wire, url, services }: AcmeWorld,
  { eab, key }: { readonly eab: TestEabKey; readonly key: AcmeKey },
): Promise<AcmeClient> {
  const newAccount = url('new-account');
  const externalAccountBinding = binding(eab, { url: newAccount, jwk: key.jwk });
  const made = await wire.post(newAccount, { externalAccountBinding }, { key });
  if (made.status !== 201) throw new Error(`no account: ${made.status} ${made.text}`);
  const kid = String(made.headers.location);
  const client: AcmeClient = {
    ...{ key, kid, eab },
    signed: async (to, payload) =>
      jws({ alg: key.alg, nonce: await wire.nonce(), url: to, kid }, payload, key),
    post: (to, payload) => wire.post(to, payload, { key, kid }),
    async order(...names) {
      const wanted = names.length === 0 ? ['www.shop.test'] : names;
      const identifiers = wanted.map((value) => ({ type: 'dns', value }));
      const answer = await client.post(url('new-order'), { identifiers });
      if (answer.status !== 201) throw new Error(`no order: ${answer.status} ${answer.text}`);
      return String(answer.headers.location);
    },
    async certificate(certificateKey = newKey()) {
      const orderUrl = await client.order();
      const csr = base64url(statedCsr(certificateKey, { dnsSans: ['www.shop.test'] }));
      const done = await client.post(`${orderUrl}/finalize`, { csr });
      if (done.json['status'] !== 'valid') throw new Error(`no certificate: ${done.text}`);
      const serial = String(done.json['certificate']).split('/').at(-1) as string;
      const record = await services.store.certificates.bySerial(serial);
      const der = record?.certificateDer as Buffer;
      const ariId = certificateIdOf(der) as string;
      return { der, serial, key: certificateKey, orderUrl, ariId };
    },
  };
  return client;
}

const usualKey = (now: number): EabKey => ({
  ...{ id: '', tenant: 'shop', description: '', dnsPatterns: ['*.shop.test'], ipRanges: [] },
  ...{ wildcards: false, profiles: ['short'], ttlSeconds: 0, keyTypes: ['ec-p256'] },
  ...{ proof: 'owner', challengeTypes: [], accounts: 'many', accountId: null },
  ...{ quotaCertificates: 0, quotaSeconds: 0, expiresAt: 0, revokedAt: null, version: 1 },
  ...{ createdAt: now, createdBy: 'uid:0', source: null },
});

const wide = { count: 10_000, seconds: 1 };
const wideLimits: LimitSettings = {
  ...{ ordersPerAccount: wide, ordersPerNames: wide, ordersPerTenant: wide, failuresPerName: wide },
  changesPerAccount: wide,
  ...{ ordersPerSecond: 10_000, accountsPerSecond: 10_000, anonymousPerSecond: 10_000 },
  badSignaturesPerSecond: 10_000,
};
/** No host is dialled, so that every validation fails. */
const validation = {
  ...{ allowedNetworks: [], deniedNetworks: [], resolvers: [] },
  ...{ httpPort: 80, httpsPort: 443, timeoutSeconds: 1, concurrent: 4, caaSeconds: 28_800 },
  vantage: { perspectives: [], disagreeing: 0, timeoutSeconds: 1 },
};

/** One process: memory of its own, over the same store. */
async function serve(
  world: ServicesWorld,
  {
    baseUrl,
    port,
    over,
    observe,
  }: {
    readonly baseUrl: string;
    readonly port: number;
    readonly over: Partial<LimitSettings>;
    readonly observe: ServerMetrics['acme'];
  },
): Promise<AsyncDisposable> {
  const { store, issuer, authorities, inventory, settings, tenantOwners, clock, mac } = world;
  const { revoker, refusals } = world.services;
  const running = await createAcme(
    {
      ...{ store, issuer, authorities, inventory, revoker, refusals, mac, clock },
      ...{ services: settings, owners: () => tenantOwners.present() },
      isIssuer: (name) => world.verifier.isIssuer(name, 'acme'),
      vantage: world.services.sync.vantage,
      ...{ listeners: () => [], held: () => false, canSign: () => true },
      ...{ random: systemRandom, logger: silentLogger },
      observe,
    },
    {
      ...{ publicBaseUrl: baseUrl, caaIdentities: [], challenges: ['http-01', 'dns-01'] },
      ...{ validation, nonceSeconds, orderSeconds, authorizationSeconds: orderSeconds },
      limits: { ...wideLimits, ...over },
    },
  );
  const { acme } = running;
  const front = await HttpFront.start(
    [
      acmePlugin({
        ...{ urls: acme.urls, present: () => acme },
        exchange: (request) =>
          tokenExchange(request, {
            exchange: world.services.eabExchange,
            observe: (resource, result) => observe.answered(resource, result),
          }),
      }),
    ],
    {
      publicBaseUrl: baseUrl,
      plain: { enabled: true, address: '127.0.0.1', port, trustedProxies: [] },
      tls: { enabled: false, address: '127.0.0.1', port: 0, trustedProxies: [] },
      limits: { connections: 64, headSeconds: 10, requestSeconds: 10, answerSeconds: 10 },
    },
    { clock, logger: silentLogger, observe: { answered: () => {}, refused: () => {} } },
  );
  running.start();
  return {
    async [Symbol.asyncDispose]() {
      await running.close();
      await front[Symbol.asyncDispose]();
    },
  };
}
