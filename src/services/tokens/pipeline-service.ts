import { parseCsr } from '../../certs/index.ts';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { selectorText } from '../../common/spiffe/index.ts';
import { sha256Hex, type KeyType } from '../../common/x509/index.ts';
import { spiffeSubject, type CertificateRecord } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import {
  admit,
  type GrantingToken,
  type PolicyRequest,
  type TenantGate,
} from '../../issuance/index.ts';
import type { LedgerRevocations, ObjectLedger } from '../../ledger/index.ts';
import type {
  CertificateStore,
  EntryStore,
  IssuanceStore,
  TokenUseStore,
} from '../../store/ports/index.ts';
import type { Access } from '../callers/access.ts';
import type { AnonymousCaller, Caller, OperatorCaller } from '../callers/caller.ts';
import type { CallerRegistry } from '../callers/caller-registry.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import { refusing } from '../callers/refusal-log.ts';
import { issueOne, type IssuingDependencies } from '../issuing/decided.ts';
import { ttlWithin } from '../requests.ts';
import { chosenGrant, granted, grantTtlSeconds, judgeEntries, type Granted } from './grants.ts';
import type { PipelineRequest, Pipelines, TokenExplanation, TokenGrant } from './pipelines.ts';
import { SingleUse } from './single-use.ts';
import { TokenAdmission } from './token-admission.ts';
import { tokenNames, type TokenNamesDependencies } from './token-names.ts';
import type { TokenDemand, TokenVerifier, VerifiedToken } from './token-verifier.ts';

export interface PipelineDependencies extends IssuingDependencies {
  readonly delegations: TokenNamesDependencies['delegations'];
  readonly verifier: TokenVerifier;
  readonly policy: Pick<TenantGate, 'decide' | 'preview'>;
  readonly entries: Pick<EntryStore, 'byParents'>;
  readonly tokenUses: TokenUseStore;
  readonly objects: Pick<ObjectLedger, 'require' | 'restores'>;
  readonly issuance: Pick<IssuanceStore, 'findRequests'>;
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly inventory: Pick<InventoryProof, 'require' | 'altered'>;
  readonly revocations: Pick<LedgerRevocations, 'revoke'>;
  readonly authorities: Pick<Authorities, 'rootsDer'>;
  readonly access: Access;
  readonly callers: Pick<CallerRegistry, 'announce'>;
}

const maximumCsrBytes = 16_384;

/**
 * Certificates for jobs of pipelines, which prove themselves by a token of their platform.
 */
export class PipelineService implements Pipelines {
  readonly #dependencies: PipelineDependencies;
  readonly #admission: TokenAdmission;
  readonly #single: SingleUse;

  constructor(dependencies: PipelineDependencies) {
    this.#dependencies = dependencies;
    this.#admission = new TokenAdmission(dependencies);
    const { trustDomain } = dependencies.settings;
    this.#single = new SingleUse({ ...dependencies, trustDomain });
  }

  issue(
    caller: AnonymousCaller,
    request: PipelineRequest,
    signal?: AbortSignal,
  ): ReturnType<Pipelines['issue']> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'IssueWithToken' },
      async () => {
        if (request.csrDer.length > maximumCsrBytes)
          throw new PkiError('REQUEST_TOO_LARGE', `the CSR has more than ${maximumCsrBytes} bytes`);
        const csr = unwrap(parseCsr(request.csrDer));
        const token = await this.#verified(
          { caller, text: request.token, purpose: 'pipeline' },
          signal,
        );
        const issuerId = this.#admission.issuerId(token);
        try {
          return await this.#issued({ caller, token, request, csr }, signal);
        } catch (thrown) {
          // from here on it is known who asks
          const error = PkiError.from(thrown);
          this.#admission.refused(caller.peer, error);
          await this.#dependencies.refusals.refusedAs(
            issuerId,
            'IssueWithToken',
            error,
            token.subject,
          );
          throw error;
        }
      },
    );
  }

  explain(
    caller: AnonymousCaller | OperatorCaller,
    text: string,
    signal?: AbortSignal,
  ): Promise<TokenExplanation> {
    return refusing(
      this.#dependencies.refusals,
      {
        caller,
        operation: caller.class === 'anonymous' ? 'ExplainToken' : 'ExplainIdentityToken',
      },
      async () => {
        if (caller.class !== 'anonymous')
          (await this.#dependencies.access.of(caller)).requireEverything('explaining a token');
        const token = await this.#verified({ caller, text, purpose: ['pipeline', 'acme'] }, signal);
        const judged = await judgeEntries(token, this.#dependencies);
        const use = await this.#dependencies.tokenUses.byId(token.useId);
        const leadsNowhere = granted(judged).length === 0 || use !== undefined;
        if (leadsNowhere && caller.class === 'anonymous') this.#admission.failed(caller.peer);
        return {
          token,
          grants: await Promise.all(granted(judged).map((grant) => this.#explained(grant, token))),
          refused:
            caller.class === 'anonymous'
              ? []
              : judged.flatMap(({ entry, identity }) =>
                  identity.ok
                    ? []
                    : [
                        {
                          entryId: entry.id,
                          spiffeId: entry.spiffeId,
                          reason: identity.error.message,
                        },
                      ],
                ),
          usedAt: use?.usedAt,
        };
      },
    );
  }

  end(caller: Parameters<Pipelines['end']>[0]): ReturnType<Pipelines['end']> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'EndTokenCertificate', subject: caller.spiffeId },
      async () => {
        const { tokenUses, revocations, callers, clock } = this.#dependencies;
        const { serial, spiffeId, notAfter } = caller;
        if (caller.kind !== 'token' && caller.kind !== 'workload')
          throw new PkiError(
            'CALLER_NOT_ADMITTED',
            `a certificate of kind ${caller.kind} never comes from a token`,
          );
        if (caller.kind !== 'token')
          throw new PkiError('NOT_FOUND', `there is no token behind the certificate ${serial}`, {
            next: 'Give back only what "meshca issue" obtained.',
          });
        const record = await this.#proven(serial);
        // the request of the certificate has the ID of the use, see SingleUse
        const use = await tokenUses.byId(record.requestId);
        const event = { timeMs: clock.nowMs(), actor: spiffeId, subject: spiffeId };
        if (use !== undefined)
          await tokenUses.end(use.id, clock.now(), {
            ...event,
            kind: 'identity-token.ended',
            detail: { use: use.id, issuer: use.issuer, serial, peer: caller.peer },
          });
        const isRevocable = record.profile === 'revocable';
        if (isRevocable) {
          const reason = 'cessationOfOperation';
          const { authorityId, shard } = record;
          const place = { authorityId, notAfter: record.notAfter, shard };
          await revocations.revoke(
            { serial, reason, revokedAt: clock.now(), revokedBy: spiffeId, place },
            {
              ...event,
              kind: 'certificate.revoked',
              detail: { serial, reason, notAfter, holder: record.holder },
            },
          );
          callers.announce({ kind: 'recheck' });
        }
        return { revoked: isRevocable, notAfter };
      },
    );
  }

  issuers(caller: OperatorCaller): ReturnType<Pipelines['issuers']> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'ListTokenIssuers' },
      async () => {
        (await this.#dependencies.access.of(caller)).require('token.read', { kind: 'none' });
        return this.#dependencies.verifier.standings();
      },
    );
  }

  /** The inventory row, as the log has it. The caller may have been admitted before it changed. */
  async #proven(serial: string): Promise<CertificateRecord> {
    const { certificates, inventory } = this.#dependencies;
    const record = await certificates.bySerial(serial);
    if (record?.state !== 'issued') {
      inventory.altered(serial, record);
      throw new PkiError(
        'OBJECT_NOT_IN_LOG',
        `the inventory row of certificate ${serial} differs from the audit log`,
        { detail: { kind: 'certificate', id: serial } },
      );
    }
    await inventory.require(record);
    return record;
  }

  #verified(
    {
      caller,
      text,
      purpose,
    }: Pick<TokenDemand, 'purpose'> & { readonly caller: Caller; readonly text: string },
    signal: AbortSignal | undefined,
  ): Promise<VerifiedToken> {
    const peer = caller.class === 'anonymous' ? caller.peer : undefined;
    return this.#admission.verified(text, { purpose, peer }, signal);
  }

  async #issued(
    { caller, token, request, csr }: IssuingCall,
    signal: AbortSignal | undefined,
  ): ReturnType<Pipelines['issue']> {
    const { settings, authorities } = this.#dependencies;
    const judged = await judgeEntries(token, this.#dependencies);
    const grant = chosenGrant(judged, request.spiffeId);
    const { entry, spiffeId } = grant;
    const issuerId = this.#admission.issuerId(token);
    const redemption = {
      requester: issuerId,
      grantee: entry.id,
      publicKeySha256: sha256Hex(csr.spkiDer),
      peer: caller.peer,
    };
    const ttlSeconds = ttlWithin(
      request.ttlSeconds,
      settings.minimumTtlSeconds,
      grantTtlSeconds(entry, settings),
    );
    // A denied request leaves the token unused: it can come again once the policy allows it. Issuance
    // asks the policy again, and a denial that comes only then has used the token up.
    const asked = { ...policyRequest(grant, ttlSeconds, csr.keyType), token: tokenFacts(token) };
    unwrap(admit(this.#dependencies.policy, asked, { class: 'token', name: issuerId }));
    const leaf = await this.#single.redeem(token, redemption, (requestId) =>
      issueOne(this.#dependencies, {
        requestId,
        csrDer: request.csrDer,
        subject: spiffeSubject(spiffeId, entry.dnsNames),
        kind: 'token',
        profile: entry.profile,
        ttlSeconds,
        endsWithIssuer: request.ttlSeconds === 0,
        caller: { class: 'token', name: issuerId },
        holder: jobHolder(token),
        entryId: entry.id,
        delegationId: null,
        replaces: null,
        token: tokenFacts(token),
        rights: [{ kind: 'entry', id: entry.id, revision: entry.revision }],
        reason: {
          method: 'token',
          entry: entry.id,
          issuer: token.issuer,
          tokenSubject: token.subject,
          use: token.useId,
          selectors: token.selectors.map(selectorText),
          peer: caller.peer,
        },
        signal,
      }),
    );
    return { leaf, entryId: entry.id, rootsDer: authorities.rootsDer() };
  }

  async #explained(grant: Granted, token: VerifiedToken): Promise<TokenGrant> {
    const { policy, settings } = this.#dependencies;
    const ttlSeconds = grantTtlSeconds(grant.entry, settings);
    const asked = {
      ...policyRequest(grant, ttlSeconds, keyTypeOfClients),
      token: tokenFacts(token),
    };
    const decision = policy.preview(asked, {
      class: 'token',
      name: this.#admission.issuerId(token),
    });
    return {
      entryId: grant.entry.id,
      spiffeId: grant.spiffeId,
      ttlSeconds,
      denied: decision.allowed ? undefined : decision.reason,
      names: token.purposes.includes('acme')
        ? await tokenNames(grant.spiffeId.toString(), this.#dependencies)
        : [],
    };
  }
}

/** What our clients make, see `newTokenKey`. */
const keyTypeOfClients: KeyType = 'ec-p256';

const tokenFacts = ({ issuer, subject }: VerifiedToken): GrantingToken => ({ issuer, subject });

/** As issuance asks the policy about the certificate. */
const policyRequest = (
  { entry, spiffeId }: Granted,
  ttlSeconds: number,
  keyType: KeyType,
): Extract<PolicyRequest, { readonly type: 'x509' }> => ({
  type: 'x509',
  kind: 'token',
  subject: spiffeSubject(spiffeId, entry.dnsNames),
  profile: entry.profile,
  keyType,
  ttlSeconds,
  entryId: entry.id,
  delegationId: null,
});

const maximumHolder = 256;

/** Names the job where it is waited for, in a rotation for example. */
const jobHolder = ({ issuer, subject, useId }: VerifiedToken): string => {
  const holder = `job:${issuer}/${subject}`;
  return holder.length <= maximumHolder
    ? holder
    : `${holder.slice(0, maximumHolder)}#${useId.slice(0, 16)}`;
};

interface IssuingCall {
  readonly caller: AnonymousCaller;
  readonly token: VerifiedToken;
  readonly request: PipelineRequest;
  readonly csr: { readonly spkiDer: Buffer; readonly keyType: KeyType };
}
