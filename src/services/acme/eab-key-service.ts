import { PkiError } from '../../common/errors/index.ts';
import { uuidv7, type Clock } from '../../common/runtime/index.ts';
import type { OperationName } from '../../common/wire/index.ts';
import {
  checkEabKey,
  eabKeyEnd,
  hasAllPatterns,
  type AuditEvent,
  type EabKey,
  type EabKeyInput,
} from '../../domain/index.ts';
import type { TokenMac } from '../../hsm/mac-port.ts';
import type { LedgerAcme, LedgerTenants } from '../../ledger/index.ts';
import type { AuditStore, Page, PageRequest } from '../../store/ports/index.ts';
import { visiblePage, type Access, type OperatorRights } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { assertIssuable } from '../registration/revocable.ts';
import { checkPage, checkText } from '../requests.ts';
import type { ServiceSettings } from '../settings.ts';
import { noTenant } from '../tenants/names-of-tenants.ts';
import { permitsAcme, requireAcme } from './acme-rights.ts';
import { eabMacKey } from './eab-secret.ts';
import { lostIssuer } from './exchanged-key.ts';
import type { EabKeys, EabKeySecret } from './operator-acme.ts';

export interface EabKeyDependencies {
  readonly eabKeys: LedgerAcme['eabKeys'];
  readonly tenants: Pick<LedgerTenants, 'byName'>;
  readonly audit: Pick<AuditStore, 'append'>;
  readonly mac: TokenMac;
  /** Whether the tokens of this issuer lead to EAB keys. */
  readonly isIssuer: (name: string) => boolean;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly settings: Pick<
    ServiceSettings,
    'minimumTtlSeconds' | 'reservedDnsNames' | 'revocable' | 'acmeDirectoryUrl'
  >;
}

/** Keys for external account binding. Each is a delegation of names of one tenant. */
export class EabKeyService implements EabKeys {
  readonly #dependencies: EabKeyDependencies;

  constructor(dependencies: EabKeyDependencies) {
    this.#dependencies = dependencies;
  }

  create(caller: OperatorCaller, input: EabKeyInput, signal?: AbortSignal): Promise<EabKeySecret> {
    return this.#refusing(caller, 'CreateEabKey', input.tenant.slice(0, 64), async () => {
      const { access, clock, eabKeys } = this.#dependencies;
      const rights = await access.of(caller);
      rights.require('acme.write', { kind: 'none' });
      const now = clock.now();
      const draft = await this.#draft(rights, input, now);
      requireAcme(rights, 'acme.write', draft);
      if (draft.ipRanges.length > 0) rights.requireEverything('an EAB key with IP ranges');
      const key: EabKey = {
        ...draft,
        id: uuidv7(clock.nowMs()),
        accountId: null,
        revokedAt: null,
        version: 1,
        createdAt: now,
        createdBy: actorOf(caller),
        source: null,
      };
      // before the record: without its token a key is of no use to anybody
      const secret = await this.#secretOf(key);
      await eabKeys.create(key, {
        rights: [{ kind: 'tenant', name: key.tenant }],
        event: this.#event(caller, 'eab-key.created', key, grantDetail(key)),
        signal,
      });
      return secret;
    });
  }

  list(
    caller: OperatorCaller,
    { tenant, includeEnded }: { readonly tenant: string; readonly includeEnded: boolean },
    page: PageRequest,
  ): Promise<Page<EabKey>> {
    return this.#refusing(caller, 'ListEabKeys', tenant.slice(0, 64), async () => {
      const { access, clock, eabKeys } = this.#dependencies;
      const rights = await access.of(caller);
      rights.require('acme.read', { kind: 'none' });
      const filter = { includeEnded, now: clock.now(), ...(tenant === '' ? {} : { tenant }) };
      return visiblePage(
        (request) => eabKeys.list(filter, request),
        (key) => permitsAcme(rights, 'acme.read', key),
        checkPage(page),
      );
    });
  }

  get(caller: OperatorCaller, id: string): Promise<EabKey> {
    return this.#refusing(caller, 'GetEabKey', id.slice(0, 64), () =>
      this.#found(caller, 'acme.read', id),
    );
  }

  secret(caller: OperatorCaller, id: string): Promise<EabKeySecret> {
    return this.#refusing(caller, 'GetEabKeySecret', id.slice(0, 64), async () => {
      const { access, audit, clock } = this.#dependencies;
      const key = await this.#found(caller, 'acme.write', id);
      if (key.ipRanges.length > 0)
        (await access.of(caller)).requireEverything('an EAB key with IP ranges');
      const end = eabKeyEnd(key, clock.now());
      if (end !== undefined) throw new PkiError('EAB_KEY_ENDED', `the EAB key ${key.id} is ${end}`);
      const secret = await this.#secretOf(key);
      await audit.append([this.#event(caller, 'eab-key.shown', key, {})]);
      return secret;
    });
  }

  async ends(keys: readonly EabKey[]): Promise<readonly (string | undefined)[]> {
    const { clock, eabKeys } = this.#dependencies;
    const ends = await eabKeys.ends(
      keys.map(({ id }) => id),
      clock.now(),
    );
    return keys.map((key, index) => {
      const issuer = lostIssuer(key, this.#dependencies.isIssuer);
      return issuer === undefined
        ? ends[index]?.message
        : `EAB key ${key.id} ended with its token issuer ${issuer}, which the configuration has no more`;
    });
  }

  revoke(caller: OperatorCaller, id: string, reason: string): Promise<EabKey> {
    return this.#refusing(caller, 'RevokeEabKey', id.slice(0, 64), async () => {
      const { clock, eabKeys } = this.#dependencies;
      const text = checkText('reason', reason, 500);
      const key = await this.#found(caller, 'acme.write', id);
      if (key.revokedAt !== null) return key;
      const revoked: EabKey = { ...key, revokedAt: clock.now(), version: key.version + 1 };
      await eabKeys.update(revoked, {
        rights: [],
        event: this.#event(caller, 'eab-key.revoked', key, { reason: text }),
      });
      return revoked;
    });
  }

  async #draft(rights: OperatorRights, input: EabKeyInput, now: number) {
    const { tenants, settings } = this.#dependencies;
    const tenant = await tenants.byName(input.tenant.slice(0, 64));
    // who has a role over names of a tenant alone may know it by these names
    const isKnown =
      tenant !== undefined &&
      (rights.knowsTenant(tenant.name) ||
        (permitsAcme(rights, 'acme.write', input) && hasAllPatterns(tenant, input.dnsPatterns)));
    if (!isKnown) throw noTenant(input.tenant);
    const draft = checkEabKey(
      input,
      tenant,
      // clients of ACME renew by days: where it can be revoked, the longer one
      { ...settings, defaultProfile: settings.revocable ? 'classic' : 'short' },
      now,
    );
    for (const profile of draft.profiles) assertIssuable(profile, settings);
    return draft;
  }

  /** Who may not see a key gets the answer for one that is not there. */
  async #found(
    caller: OperatorCaller,
    verb: 'acme.read' | 'acme.write',
    id: string,
  ): Promise<EabKey> {
    const { access, eabKeys } = this.#dependencies;
    const rights = await access.of(caller);
    rights.require(verb, { kind: 'none' });
    const key = await eabKeys.byId(id);
    if (
      key === undefined ||
      !(permitsAcme(rights, verb, key) || permitsAcme(rights, 'acme.read', key))
    )
      throw new PkiError('NOT_FOUND', `there is no EAB key ${JSON.stringify(id.slice(0, 64))}`);
    requireAcme(rights, verb, key);
    return key;
  }

  async #secretOf(key: EabKey): Promise<EabKeySecret> {
    const { mac, settings } = this.#dependencies;
    return {
      key,
      macKey: await eabMacKey(mac, key.id),
      directoryUrl: settings.acmeDirectoryUrl ?? '',
    };
  }

  #event(
    caller: OperatorCaller,
    kind: string,
    { id, tenant }: EabKey,
    detail: AuditEvent['detail'],
  ): AuditEvent {
    return {
      timeMs: this.#dependencies.clock.nowMs(),
      actor: actorOf(caller),
      kind,
      subject: id,
      detail: { tenant, ...detail },
    };
  }

  #refusing<T>(
    caller: OperatorCaller,
    operation: OperationName,
    subject: string,
    work: () => Promise<T>,
  ): Promise<T> {
    return refusing(this.#dependencies.refusals, { caller, operation, subject }, work);
  }
}

const grantDetail = (key: EabKey): AuditEvent['detail'] => ({
  dnsPatterns: key.dnsPatterns,
  ipRanges: key.ipRanges,
  wildcards: key.wildcards,
  profiles: key.profiles,
  ttlSeconds: key.ttlSeconds,
  keyTypes: key.keyTypes,
  proof: key.proof,
  challengeTypes: key.challengeTypes,
  accounts: key.accounts,
  quotaCertificates: key.quotaCertificates,
  quotaSeconds: key.quotaSeconds,
  expiresAt: key.expiresAt,
});
