import { isDeepStrictEqual } from 'node:util';
import { PkiError } from '../../common/errors/index.ts';
import { uuidv7, type Clock } from '../../common/runtime/index.ts';
import type { AcmeAccount, AuditValue, Rights } from '../../domain/index.ts';
import type {
  AcmeAccountStore,
  AcmeOrderStore,
  AcmeWrite,
  CertificateStore,
} from '../../store/ports/index.ts';
import { keyRight, refuseBlocked, type AccountKeys } from './account-keys.ts';
import type { AcmeAnswer } from './answer.ts';
import type { ExternalAccounts } from './external-accounts.ts';
import { requirePostAsGet, type AccountRequest, type SignedRequest } from './gate.ts';
import { parseInnerJws, verifyAcmeJws, type AccountKey } from './jws.ts';
import { parseKeyChange, parseNewAccount, parseUpdateAccount } from './payloads.ts';
import { accept, refuse } from './problem.ts';
import type { AcmeUrls } from './urls.ts';

export interface AccountDependencies {
  /** Reads that the log vouches for. */
  readonly accounts: Pick<AcmeAccountStore, 'byId' | 'byThumbprint' | 'create' | 'update'>;
  readonly orders: Pick<AcmeOrderStore, 'list'>;
  readonly certificates: Pick<CertificateStore, 'unreplacedOf'>;
  readonly bindings: Pick<ExternalAccounts, 'bind'>;
  readonly keys: Pick<AccountKeys, 'requireFit'>;
  readonly limits: {
    /** @throws AcmeRefusal rateLimited */
    accountChange(accountId: string): void;
  };
  readonly urls: AcmeUrls;
  readonly clock: Clock;
  /** Undefined: there are no terms. */
  readonly termsOfService: string | undefined;
}

/** The name of an account in records, and of the requester of its certificates. */
export const accountActor = (id: string): string => `acme:${id}`;

const kinds = {
  created: 'acme.account.created',
  contacts: 'acme.account.changed',
  key: 'acme.account.changed',
  deactivated: 'acme.account.ended',
} as const;

const ordersOnPage = 100;
const tries = 8;

/** Accounts (RFC 8555 section 7.3). */
export class AcmeAccounts {
  readonly #dependencies: AccountDependencies;

  constructor(dependencies: AccountDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Makes an account, or finds the one that has the key. `admit` throws if there are too many new
   * ones: it is asked after the binding was judged, so that strangers use up no place.
   */
  async create(request: SignedRequest, admit: () => void): Promise<AcmeAnswer> {
    const { accounts, bindings, keys, clock } = this.#dependencies;
    const payload = accept(parseNewAccount(request.payload));
    keys.requireFit(request.key);
    const existing = await accounts.byThumbprint(request.key.thumbprint);
    if (existing !== undefined) return this.#existing(existing);
    if (payload.onlyReturnExisting === true)
      refuse('accountDoesNotExist', 'there is no account with this key');
    this.#requireTerms(payload.termsOfServiceAgreed);
    const contacts = checkContacts(payload.contact ?? []);
    const key = await bindings.bind(payload.externalAccountBinding, request);
    admit();
    const now = clock.now();
    const account: AcmeAccount = {
      id: uuidv7(clock.nowMs()),
      algorithm: request.key.algorithm,
      jwk: request.key.jwk,
      thumbprint: request.key.thumbprint,
      contacts,
      status: 'valid',
      eabKeyId: key.id,
      tenant: key.tenant,
      version: 1,
      createdAt: now,
      updatedAt: now,
    };
    const rights: Rights = [
      { kind: 'tenant', name: key.tenant },
      { kind: 'eab-key', id: key.id },
      keyRight(request.key),
    ];
    const write = this.#write(request, { account, what: 'created', rights });
    try {
      await accounts.create(account, write);
    } catch (thrown) {
      refuseIfBlocked(thrown, request.key);
      const other =
        PkiError.from(thrown).code === 'ALREADY_EXISTS'
          ? await accounts.byThumbprint(request.key.thumbprint)
          : undefined;
      if (other === undefined) throw thrown;
      return this.#existing(other);
    }
    return { ...this.#view(account), status: 201 };
  }

  /** Reads, updates or deactivates an account. `id`: of the URL. */
  async update(request: AccountRequest, id: string): Promise<AcmeAnswer> {
    const { limits } = this.#dependencies;
    const { account, payload } = request;
    requireOwn(account, id);
    if (payload.length === 0) return this.#view(account);
    const { contact, status } = accept(parseUpdateAccount(payload));
    if (contact === undefined && status === undefined) return this.#view(account);
    const contacts = contact === undefined ? account.contacts : checkContacts(contact);
    const isSame = isDeepStrictEqual(contacts, account.contacts);
    if (status === undefined && isSame) return this.#view(account);
    // whoever wants to end an account never waits
    if (status === undefined) limits.accountChange(account.id);
    const changed = await this.#change(
      request,
      {
        ...(contact === undefined ? {} : { contacts }),
        ...(status === undefined ? {} : { status }),
      },
      { what: status === undefined ? 'contacts' : 'deactivated', rights: own(request) },
    );
    return this.#view(changed);
  }

  /** Replaces the key of an account by another one (section 7.3.5). Its orders stay. */
  async changeKey(request: AccountRequest): Promise<AcmeAnswer> {
    const { keys, limits, urls } = this.#dependencies;
    const { account, url } = request;
    // before the inner signature, which takes as much work as that of the request
    limits.accountChange(account.id);
    const inner = accept(parseInnerJws(request.payload));
    if (!(await verifyAcmeJws(inner, inner.key)))
      refuse('malformed', 'the inner signature is not valid for the new key');
    const { account: named, oldKey } = accept(parseKeyChange(inner.payload));
    if (inner.url !== url) refuse('malformed', 'the inner "url" is not that of the request');
    if (named !== urls.account(account.id))
      refuse('malformed', '"account" is not the account that signs the request');
    if (!isSameKey(oldKey, request.key))
      refuse('malformed', '"oldKey" is not the present key of the account');
    if (inner.key.thumbprint === account.thumbprint)
      refuse('malformed', 'the new key is the present key of the account');
    keys.requireFit(inner.key);
    await this.#requireFree(inner.key);
    await this.#requireUncertified(account, inner.key);
    const { algorithm, jwk, thumbprint } = inner.key;
    const rights = [...own(request), keyRight(inner.key)];
    try {
      const changed = await this.#change(
        request,
        { algorithm, jwk, thumbprint },
        { what: 'key', rights },
      );
      return this.#view(changed);
    } catch (thrown) {
      refuseIfBlocked(thrown, inner.key);
      if (PkiError.from(thrown).code === 'ALREADY_EXISTS') await this.#requireFree(inner.key);
      throw thrown;
    }
  }

  /** The orders of an account, in pages (section 7.1.2.1). */
  async orders(request: AccountRequest, id: string, after?: string): Promise<AcmeAnswer> {
    const { orders, urls } = this.#dependencies;
    requireOwn(request.account, id);
    requirePostAsGet(request);
    const page = await orders.list(
      { accountId: id },
      { size: ordersOnPage, ...(after === undefined ? {} : { after }), signal: request.signal },
    );
    return {
      status: 200,
      ...(page.next === undefined
        ? {}
        : { links: [{ url: urls.orders(id, page.next), rel: 'next' as const }] }),
      body: { json: { orders: page.items.map((order) => urls.order(order.id)) } },
    };
  }

  /** Changes an account, and again if another request was faster. */
  async #change(
    request: AccountRequest,
    changes: Partial<AcmeAccount>,
    { what, rights }: { readonly what: keyof typeof kinds; readonly rights: Rights },
  ): Promise<AcmeAccount> {
    const { accounts, clock } = this.#dependencies;
    let present = request.account;
    for (let tried = 1; ; tried += 1) {
      const { version } = present;
      const changed = { ...present, ...changes, version: version + 1, updatedAt: clock.now() };
      try {
        await accounts.update(changed, this.#write(request, { account: changed, what, rights }));
        return changed;
      } catch (thrown) {
        if (PkiError.from(thrown).code !== 'CONFLICT' || tried === tries) throw thrown;
        present = await this.#present(request);
      }
    }
  }

  /** The account as it is now, if it may still ask for what it has asked. */
  async #present({ account, key }: AccountRequest): Promise<AcmeAccount> {
    const present = await this.#dependencies.accounts.byId(account.id);
    if (present?.status !== 'valid')
      return refuse('unauthorized', `the account is ${present?.status ?? 'gone'}`, { status: 401 });
    return present.thumbprint === key.thumbprint
      ? present
      : refuse('unauthorized', 'the key of the account was changed meanwhile', { status: 401 });
  }

  /** No account has this key (RFC 8555 section 7.3.5: 409, and where it is). */
  async #requireFree({ thumbprint }: AccountKey): Promise<void> {
    const { accounts, urls } = this.#dependencies;
    const other = await accounts.byThumbprint(thumbprint);
    if (other === undefined) return;
    refuse('malformed', 'another account has the new key', {
      status: 409,
      location: urls.account(other.id),
    });
  }

  /** No key is that of an account and of a certificate. CSRs are judged likewise. */
  async #requireUncertified(
    { id }: AcmeAccount,
    { publicKeySha256 }: Pick<AccountKey, 'publicKeySha256'>,
  ): Promise<void> {
    const { certificates, clock } = this.#dependencies;
    const held = await certificates.unreplacedOf(accountActor(id), clock.now());
    if (held.some((each) => each.publicKeySha256 === publicKeySha256))
      refuse(
        'badPublicKey',
        'the new key is that of a certificate of the account. Make another key',
      );
  }

  #existing(account: AcmeAccount): AcmeAnswer {
    if (account.status === 'valid') return this.#view(account);
    return refuse(
      'unauthorized',
      `the account with this key is ${account.status}. Make another one, with another key`,
      { status: 401 },
    );
  }

  #requireTerms(agreed: boolean | undefined): void {
    const { termsOfService } = this.#dependencies;
    if (termsOfService === undefined || agreed === true) return;
    refuse('userActionRequired', `agree to the terms of service at ${termsOfService}`);
  }

  #view({ id, status, contacts }: AcmeAccount): AcmeAnswer {
    const { urls, termsOfService } = this.#dependencies;
    return {
      status: 200,
      location: urls.account(id),
      body: {
        json: {
          status,
          contact: contacts,
          ...(termsOfService === undefined ? {} : { termsOfServiceAgreed: true }),
          orders: urls.orders(id),
        },
      },
    };
  }

  /** Records state no contact: they are data of persons, and a log forgets nothing. */
  #write(
    { nonce, client, signal }: SignedRequest,
    {
      account,
      what,
      rights,
    }: {
      readonly account: AcmeAccount;
      readonly what: keyof typeof kinds;
      readonly rights: Rights;
    },
  ): AcmeWrite {
    const detail: Record<string, AuditValue> = {
      what,
      account: account.id,
      tenant: account.tenant,
      eabKey: account.eabKeyId,
      thumbprint: account.thumbprint,
      peer: client,
    };
    const actor = accountActor(account.id);
    return {
      nonce,
      rights,
      signal,
      event: {
        timeMs: this.#dependencies.clock.nowMs(),
        actor,
        kind: kinds[what],
        subject: actor,
        detail,
      },
    };
  }
}

/** The account is valid, and the key that has signed is not blocked. */
const own = ({ account, key }: AccountRequest): Rights => [
  { kind: 'acme-account', id: account.id },
  keyRight(key),
];

/** The key was blocked after it was judged first. */
function refuseIfBlocked(thrown: unknown, key: AccountKey): void {
  if (PkiError.from(thrown).code === 'KEY_BLOCKED')
    refuseBlocked(key, 'Make another key for the account');
}

function requireOwn(account: AcmeAccount, id: string): void {
  if (account.id !== id) refuse('unauthorized', 'the request is signed by another account');
}

const isSameKey = (jwk: object, { jwk: own }: AccountKey): boolean =>
  Object.entries(own).every(
    ([name, text]) => (jwk as Readonly<Record<string, unknown>>)[name] === text,
  );

/** One address in each `mailto:` URL, without header fields (RFC 8555 section 7.3). */
function checkContacts(contacts: readonly string[]): readonly string[] {
  for (const contact of contacts) {
    if (!contact.toLowerCase().startsWith('mailto:'))
      refuse('unsupportedContact', 'only contacts that begin with mailto: are supported');
    if (!/^mailto:[^@,?\s]+@[^@,?\s]+$/i.test(contact) || !/^[\x21-\x7e]+$/.test(contact))
      refuse('invalidContact', 'a contact is mailto: and one address, without header fields');
  }
  return [...new Set(contacts)];
}
