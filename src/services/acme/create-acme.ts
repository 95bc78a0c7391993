import type { Clock, Logger, Random } from '../../common/runtime/index.ts';
import {
  createValidator,
  type OwnListener,
  type ValidatorSettings,
} from '../../common/validation/index.ts';
import type {
  ChallengeType,
  NameOwners,
  NamesProfile,
  PerspectiveResult,
  Tenant,
} from '../../domain/index.ts';
import type { TokenMac } from '../../hsm/mac-port.ts';
import { placeOfTenant } from '../../issuance/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { Issuer } from '../../issuance/issuer.ts';
import type { Ledger } from '../../ledger/index.ts';
import type { AcmeOrderStore } from '../../store/ports/index.ts';
import type { Refusals } from '../callers/callers.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import type { Revoker } from '../revoking/revoker.ts';
import type { ServiceSettings } from '../settings.ts';
import { AccountKeys } from './account-keys.ts';
import { AcmeAccounts } from './accounts.ts';
import { Acme, type DirectoryMeta } from './acme.ts';
import { CaaRecheck } from './caa-recheck.ts';
import { AcmeCertificates } from './certificates.ts';
import { eabMacKey } from './eab-secret.ts';
import { lostIssuer } from './exchanged-key.ts';
import { ExternalAccounts } from './external-accounts.ts';
import { Finalization } from './finalization.ts';
import { Finalizer } from './finalizer.ts';
import { AcmeGate } from './gate.ts';
import { AcmeLimits, type LimitSettings } from './limits.ts';
import { NewOrders } from './new-orders.ts';
import { Nonces } from './nonces.ts';
import { OrderBook } from './order-book.ts';
import { AcmeOrders } from './orders.ts';
import { RenewalInfo } from './renewal-info.ts';
import { Replacements } from './replacements.ts';
import { AcmeRevocation } from './revocation.ts';
import { AcmeUrls } from './urls.ts';
import { UsedNonces } from './used-nonces.ts';
import { Validations } from './validations.ts';
import { Corroborator } from './vantage/corroborator.ts';
import type { VantageAgents } from './vantage/vantage-agents.ts';
import {
  roundsPerAccount,
  VantagePoints,
  type VantagePointSettings,
} from './vantage/vantage-points.ts';

export interface AcmeSettings {
  readonly publicBaseUrl: string;
  readonly termsOfService?: string | undefined;
  readonly website?: string | undefined;
  readonly caaIdentities: readonly string[];
  readonly challenges: readonly ChallengeType[];
  readonly validation: Omit<ValidatorSettings, 'caaIdentities'> & {
    readonly concurrent: number;
    readonly caaSeconds: number;
    readonly vantage: VantagePointSettings;
  };
  readonly nonceSeconds: number;
  readonly orderSeconds: number;
  readonly authorizationSeconds: number;
  readonly limits: LimitSettings;
}

/** What the metrics record of ACME. */
export interface AcmeObserver {
  /** `result`: `ok`, or the type of the problem. */
  answered(resource: string, result: string): void;
  /** An order has its certificate, or never gets one after it was finalized. */
  ended(end: 'issued' | 'failed'): void;
  /** `result`: `valid`, or the type of the problem. */
  judged(type: ChallengeType, result: string): void;
  limited(limit: string): void;
  /** What a vantage agent of one place said of a validation. */
  perspective(name: string, result: PerspectiveResult): void;
}

export interface AcmeParts {
  readonly store: Ledger;
  readonly issuer: Issuer;
  readonly authorities: Authorities;
  readonly inventory: Pick<InventoryProof, 'require' | 'requireUnreleased' | 'refuse'>;
  readonly revoker: Revoker;
  readonly refusals: Pick<Refusals, 'refusedAs' | 'count'>;
  readonly mac: TokenMac;
  readonly owners: () => NameOwners<Tenant>;
  /** Whether the tokens of this issuer lead to EAB keys. */
  readonly isIssuer: (name: string) => boolean;
  readonly services: Pick<ServiceSettings, 'reservedDnsNames' | 'revocable'>;
  readonly vantage: VantageAgents;
  /** Every listener of this server, whichever protocol it speaks. */
  readonly listeners: () => readonly OwnListener[];
  /** True while the database is not trusted. */
  readonly held: () => boolean;
  /** False while the token is away. */
  readonly canSign: () => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly observe: AcmeObserver;
}

/** What the token derives the key of nonces from. */
const nonceMacInput = Buffer.from('meshca acme nonces v1', 'ascii');

/** The ACME server with its work in the background. */
export interface RunningAcme {
  readonly acme: Acme;
  /** Goes on with the validations and orders of before. */
  start(): void;
  close(): Promise<void>;
}

/**
 * Builds the ACME server. The key of nonces comes from the token, so that every replica and every
 * start has the same.
 *
 * @throws PkiError HSM_*
 */
export async function createAcme(given: AcmeParts, settings: AcmeSettings): Promise<RunningAcme> {
  const parts = withoutLostIssuers(given);
  const { store, clock, logger, observe, mac } = parts;
  const { accounts, orders, eabKeys } = store.acme;
  const urls = new AcmeUrls(settings.publicBaseUrl);
  const nonces = await acmeNonces(parts, settings);
  const book = new OrderBook({ orders: observedOrders(orders, observe), clock });
  const keys = new AccountKeys(store.blockedKeys);
  const points = vantagePoints(parts, settings);
  const corroborator = acmeCorroborator(parts, settings, points);
  const finalizer = new Finalizer({
    ...{ book, orders, accounts, eabKeys, keys, issuer: parts.issuer, clock, logger },
    caa: acmeCaa(parts, settings, { urls, book, corroborator }),
    ...{ canSign: parts.canSign, held: parts.held },
  });
  const renewalInfo = new RenewalInfo({
    ...{ ...store, ...parts, clock },
    explanationUrl: settings.website,
  });
  const limits = acmeLimits(parts, settings, renewalInfo);
  const validations = acmeValidations(parts, settings, { urls, corroborator });
  const shared = { ...store, ...parts, accounts, orders, eabKeys, urls, book, limits, clock, keys };
  const replacements = new Replacements(shared);
  const acme = new Acme({
    ...{ ...shared, nonces, renewalInfo, logger, meta: metaOf(parts, settings) },
    gate: new AcmeGate({ nonces, used: new UsedNonces(clock), accounts, keys, limits, urls }),
    accounts: new AcmeAccounts({
      ...{ ...shared, termsOfService: settings.termsOfService },
      bindings: new ExternalAccounts({
        ...{ eabKeys, clock },
        secretOf: (id) => eabMacKey(mac, id),
      }),
    }),
    newOrders: new NewOrders({
      ...{ ...shared, replacements, orderSeconds: settings.orderSeconds },
      reservedDnsNames: parts.services.reservedDnsNames,
      challengeTypes: settings.challenges,
    }),
    orders: new AcmeOrders({
      ...{ ...shared, replacements, caaIdentities: settings.caaIdentities },
      validate: (order) => validations.take(order),
      shortfall: () => points.shortfall(),
    }),
    finalization: new Finalization({ ...shared, finalizer }),
    certificates: new AcmeCertificates(shared),
    revocation: acmeRevocation(parts, settings),
    observe: (resource, result) => observe.answered(resource, result),
  });
  return {
    acme,
    start() {
      void validations.start();
      void finalizer.start();
    },
    async close() {
      await Promise.all([finalizer.close(), validations.close()]);
    },
  };
}

const acmeNonces = async (
  { mac, clock, random }: AcmeParts,
  { nonceSeconds: lifeSeconds }: AcmeSettings,
): Promise<Nonces> => new Nonces({ key: await mac.mac(nonceMacInput), clock, random, lifeSeconds });

/** A key that was exchanged for a token counts as gone where its issuer is configured no more. */
function withoutLostIssuers({ store, isIssuer, ...others }: AcmeParts): AcmeParts {
  const { eabKeys } = store.acme;
  const standing: typeof eabKeys = {
    ...eabKeys,
    byId: async (id) => {
      const key = await eabKeys.byId(id);
      return key === undefined || lostIssuer(key, isIssuer) !== undefined ? undefined : key;
    },
  };
  return { ...others, isIssuer, store: { ...store, acme: { ...store.acme, eabKeys: standing } } };
}

/** A finalized order ends once: nothing changes it afterwards. */
const observedOrders = (
  orders: Pick<AcmeOrderStore, 'byId' | 'update'>,
  observe: Pick<AcmeObserver, 'ended'>,
): typeof orders => ({
  byId: (id) => orders.byId(id),
  update: async (order, write) => {
    await orders.update(order, write);
    if (order.stage === 'issued' || order.stage === 'failed') observe.ended(order.stage);
  },
});

const acmeRevocation = (
  parts: AcmeParts,
  { orderSeconds, authorizationSeconds }: AcmeSettings,
): AcmeRevocation =>
  new AcmeRevocation({
    ...{ ...parts.store, ...parts.store.acme, ...parts },
    useNonce: (nonce) => parts.store.acme.useNonce(nonce),
    // the last name of an order may be shown right before its end
    longestAuthorizationSeconds: orderSeconds + authorizationSeconds,
  });

const acmeLimits = (
  { store, owners, clock, observe }: AcmeParts,
  { limits }: AcmeSettings,
  renewalInfo: RenewalInfo,
): AcmeLimits =>
  new AcmeLimits({
    ...{ settings: limits, quotas: store.quotas, revocations: store.revocations, clock },
    placeOfTenant: (name) => {
      const tenant = owners().named(name);
      return tenant === undefined ? undefined : placeOfTenant(tenant);
    },
    wasReplaced: (serial) => store.acme.orders.wasReplaced(serial),
    isDue: (serial) => renewalInfo.isDue(serial),
    refused: (limit) => observe.limited(limit),
  });

const vantagePoints = (
  { vantage, clock, observe }: AcmeParts,
  { validation }: AcmeSettings,
): VantagePoints =>
  new VantagePoints({
    ...{ agents: vantage, settings: validation.vantage, clock },
    observe: (name, result) => observe.perspective(name, result),
  });

const acmeCorroborator = (
  { listeners, clock }: AcmeParts,
  { validation, caaIdentities }: AcmeSettings,
  points: VantagePoints,
): Corroborator =>
  new Corroborator({
    ...{ points, caaIdentities },
    own: createValidator({ settings: { ...validation, caaIdentities }, listeners, clock }),
  });

const acmeCaa = (
  { clock }: AcmeParts,
  { validation }: AcmeSettings,
  {
    urls,
    ...shared
  }: {
    readonly urls: AcmeUrls;
    readonly book: OrderBook;
    readonly corroborator: Corroborator;
  },
): CaaRecheck =>
  new CaaRecheck({
    ...{ ...shared, clock },
    accountUri: (id) => urls.account(id),
    settings: {
      caaSeconds: validation.caaSeconds,
      asksDns: validation.resolvers.length > 0,
    },
  });

const acmeValidations = (
  { store, held, clock, logger, observe }: AcmeParts,
  { validation, authorizationSeconds, limits }: AcmeSettings,
  { urls, corroborator }: { readonly urls: AcmeUrls; readonly corroborator: Corroborator },
): Validations =>
  new Validations({
    ...store.acme,
    validator: corroborator,
    settings: {
      ...{ concurrent: validation.concurrent, authorizationSeconds },
      perAccount: validationsPerAccount(validation),
      failureSeconds: limits.failuresPerName.seconds,
    },
    accountUri: (id) => urls.account(id),
    judged: (type, result) => observe.judged(type, result),
    ...{ held, clock, logger },
  });

/** What waits for a place of its account at the vantage agents takes no place of others here. */
function validationsPerAccount({ concurrent, vantage }: AcmeSettings['validation']): number {
  const share = Math.ceil(concurrent / 4);
  return vantage.perspectives.length === 0 ? share : Math.min(share, roundsPerAccount);
}

function metaOf(
  { services }: AcmeParts,
  { termsOfService, website, caaIdentities }: AcmeSettings,
): DirectoryMeta {
  const { classic, ...others } = profileTexts;
  const profiles = services.revocable ? { classic, ...others } : others;
  return { termsOfService, website, caaIdentities, profiles };
}

const profileTexts: Readonly<Record<NamesProfile, string>> = {
  classic: '30 days, at most 90, with revocation information and a common name',
  short: '6 days, without revocation information',
  hours: 'up to a day, without revocation information or renewal information',
};
