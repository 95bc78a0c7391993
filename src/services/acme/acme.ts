import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Logger } from '../../common/runtime/index.ts';
import type { Refusals } from '../callers/callers.ts';
import { accountActor, type AcmeAccounts } from './accounts.ts';
import type { AcmeAnswer } from './answer.ts';
import type { AcmeCertificates } from './certificates.ts';
import type { Finalization } from './finalization.ts';
import type { AccountRequest, AcmeGate, AcmeRequest, SignedRequest } from './gate.ts';
import type { AcmeLimits } from './limits.ts';
import type { NewOrders } from './new-orders.ts';
import type { Nonces } from './nonces.ts';
import type { AcmeOrders } from './orders.ts';
import { AcmeRefusal, type AcmeProblem } from './problem.ts';
import { problemOf } from './refusals.ts';
import type { RenewalInfo } from './renewal-info.ts';
import type { AcmeRevocation } from './revocation.ts';
import type { AcmeUrls } from './urls.ts';

export interface DirectoryMeta {
  readonly termsOfService: string | undefined;
  readonly website: string | undefined;
  readonly caaIdentities: readonly string[];
  /** Name to description (draft-ietf-acme-profiles). */
  readonly profiles: Readonly<Record<string, string>>;
}

export interface AcmeDependencies {
  readonly gate: AcmeGate;
  readonly nonces: Pick<Nonces, 'issue'>;
  readonly accounts: AcmeAccounts;
  readonly newOrders: NewOrders;
  readonly orders: AcmeOrders;
  readonly finalization: Finalization;
  readonly certificates: AcmeCertificates;
  readonly revocation: AcmeRevocation;
  readonly renewalInfo: RenewalInfo;
  readonly limits: Pick<AcmeLimits, 'anonymous' | 'newAccount' | 'text'>;
  readonly refusals: Pick<Refusals, 'refusedAs' | 'count'>;
  readonly urls: AcmeUrls;
  readonly meta: DirectoryMeta;
  readonly logger: Logger;
  /** Called with `ok`, or with the problem type of a refusal. */
  readonly observe: (resource: string, result: string) => void;
}

export interface AcmeRefused {
  readonly ok: false;
  readonly problem: AcmeProblem;
}

export type AcmeOutcome = { readonly ok: true; readonly answer: AcmeAnswer } | AcmeRefused;

/** The part of a path that names an object. */
export type PathParameters = Readonly<Record<string, string | undefined>>;

type Handler = (request: AcmeRequest, at: (name: string) => string) => Promise<AcmeAnswer>;

/** The resources that are posted to. */
export type AcmeResource = keyof ReturnType<typeof handlersOf>;

/** The ACME server (RFC 8555), free of HTTP: each request gets an answer or a problem. */
export class Acme {
  readonly #dependencies: AcmeDependencies;
  readonly #handlers: Readonly<Record<AcmeResource, Handler>>;
  /** Who signed a request, as far as the gate has found out. */
  readonly #signers = new WeakMap<AcmeRequest, string>();

  constructor(dependencies: AcmeDependencies) {
    this.#dependencies = dependencies;
    this.#handlers = handlersOf(dependencies, {
      ofAccount: async (request) => {
        const signed = await dependencies.gate.ofAccount(request);
        this.#signers.set(request, signed.account.id);
        return signed;
      },
      ofKey: (request) => dependencies.gate.ofKey(request),
      ofEither: async (request) => {
        const signed = await dependencies.gate.open(request);
        if (signed.account !== undefined) this.#signers.set(request, signed.account.id);
        return signed;
      },
    });
  }

  get urls(): AcmeUrls {
    return this.#dependencies.urls;
  }

  nonce(): string {
    return this.#dependencies.nonces.issue();
  }

  /** RFC 8555 section 7.1.1. */
  directory(): Readonly<Record<string, unknown>> {
    const { urls, meta } = this.#dependencies;
    const { termsOfService, website, caaIdentities, profiles } = meta;
    return {
      ...urls.resources(),
      meta: {
        ...(termsOfService === undefined ? {} : { termsOfService }),
        ...(website === undefined ? {} : { website }),
        ...(caaIdentities.length === 0 ? {} : { caaIdentities }),
        externalAccountRequired: true,
        profiles,
      },
    };
  }

  /** What limits there are, for people. */
  limitsText(): string {
    return this.#dependencies.limits.text();
  }

  /** Reads renewal information, which needs no account. `client`: its address. */
  renewalInfo(certificateId: string, client: string): Promise<AcmeOutcome> {
    const { renewalInfo, limits } = this.#dependencies;
    return this.#outcome('renewal-info', undefined, () => {
      limits.anonymous(client);
      return renewalInfo.read(certificateId);
    });
  }

  /** Why a request for what needs no account is refused. Undefined: it is not. Never throws. */
  async refusalOf(
    resource: 'directory' | 'new-nonce',
    client: string,
  ): Promise<AcmeRefused | undefined> {
    const outcome = await this.#outcome(resource, undefined, () => {
      this.#dependencies.limits.anonymous(client);
      return { status: 200, body: undefined };
    });
    return outcome.ok ? undefined : outcome;
  }

  /**
   * Why an exchange of a token is refused before its request is read. Undefined: it is not. What
   * becomes of it is observed by who exchanges. Never throws.
   */
  async refusalOfExchange(client: string): Promise<AcmeRefused | undefined> {
    try {
      this.#dependencies.limits.anonymous(client);
      return undefined;
    } catch (thrown) {
      return this.#refused('exchange', undefined, thrown);
    }
  }

  /** Handles a POST to a resource. Never throws. */
  post(
    resource: AcmeResource,
    request: AcmeRequest,
    parameters: PathParameters,
  ): Promise<AcmeOutcome> {
    const handler = this.#handlers[resource];
    return this.#outcome(resource, request, () =>
      handler(request, (name) => parameters[name] ?? ''),
    );
  }

  async #outcome(
    resource: string,
    request: AcmeRequest | undefined,
    act: () => AcmeAnswer | Promise<AcmeAnswer>,
  ): Promise<AcmeOutcome> {
    try {
      const answer = await act();
      this.#dependencies.observe(resource, 'ok');
      return { ok: true, answer };
    } catch (thrown) {
      return this.#refused(resource, request, thrown);
    }
  }

  async #refused(
    resource: string,
    request: AcmeRequest | undefined,
    thrown: unknown,
  ): Promise<AcmeRefused> {
    const problem = problemOf(thrown);
    this.#dependencies.observe(resource, problem.type);
    if (problem.type === 'serverInternal')
      this.#dependencies.logger.error({ ...errorFields(thrown), resource }, 'ACME failed');
    await this.#record(resource, request, { problem, thrown });
    return { ok: false, problem };
  }

  /**
   * A refusal of an account is in the log by itself. Refusals of strangers are counted there, and so
   * are those by nonces and limits, which come in large numbers.
   */
  async #record(
    resource: string,
    request: AcmeRequest | undefined,
    { problem, thrown }: { readonly problem: AcmeProblem; readonly thrown: unknown },
  ): Promise<void> {
    const { refusals } = this.#dependencies;
    const accountId = request === undefined ? undefined : this.#signers.get(request);
    const operation = `Acme ${resource} ${problem.type}`;
    const isCounted =
      accountId === undefined || problem.type === 'badNonce' || problem.type === 'rateLimited';
    const error =
      thrown instanceof AcmeRefusal
        ? new PkiError(problem.code ?? 'ACME_REFUSED', problem.detail)
        : PkiError.from(thrown);
    if (isCounted) refusals.count(operation, error.code);
    else await refusals.refusedAs(accountActor(accountId), operation, error);
  }
}

interface Opened {
  readonly ofAccount: (request: AcmeRequest) => Promise<AccountRequest>;
  readonly ofKey: (request: AcmeRequest) => Promise<SignedRequest>;
  readonly ofEither: AcmeGate['open'];
}

/** Every resource authenticates first. */
const handlersOf = (
  { accounts, newOrders, orders, finalization, certificates, revocation, limits }: AcmeDependencies,
  { ofAccount, ofKey, ofEither }: Opened,
) =>
  ({
    'new-account': async (request) =>
      accounts.create(await ofKey(request), () => limits.newAccount()),
    account: async (request, at) => accounts.update(await ofAccount(request), at('id')),
    orders: async (request, at) =>
      accounts.orders(await ofAccount(request), at('id'), at('after') || undefined),
    'key-change': async (request) => accounts.changeKey(await ofAccount(request)),
    'new-order': async (request) =>
      orders.answer(await newOrders.create(await ofAccount(request)), 201),
    order: async (request, at) => orders.read(await ofAccount(request), at('id')),
    finalize: async (request, at) =>
      orders.answer(await finalization.finalize(await ofAccount(request), at('id'))),
    authz: async (request, at) =>
      orders.authorization(await ofAccount(request), at('id'), at('place')),
    chall: async (request, at) =>
      orders.challenge(await ofAccount(request), at('id'), {
        place: at('place'),
        type: at('type'),
      }),
    cert: async (request, at) =>
      certificates.read(await ofAccount(request), at('serial'), at('alternate') || undefined),
    'revoke-cert': async (request) => revocation.revoke(await ofEither(request)),
  }) as const satisfies Readonly<Record<string, Handler>>;
