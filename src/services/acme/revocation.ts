import { isIP } from 'node:net';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { parseCertificate, sha256Hex } from '../../common/x509/index.ts';
import {
  authorizationAt,
  orderIdentifiers,
  tenantOfNames,
  type AcmeAccount,
  type AcmeOrder,
  type CertificateRecord,
  type NameOwners,
  type RevocationReason,
} from '../../domain/index.ts';
import type { LedgerBlockedKeys, LedgerRevocations } from '../../ledger/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { AcmeOrderStore, EabKeyStore } from '../../store/ports/index.ts';
import { revokeAsKeyHolder, type KeyHolderDependencies } from '../revoking/key-holder.ts';
import { requireProven } from '../revoking/proof.ts';
import { revocability } from '../revoking/revocability.ts';
import { accountActor } from './accounts.ts';
import type { AcmeAnswer } from './answer.ts';
import { requireStanding } from './eab-standing.ts';
import type { SignedRequest } from './gate.ts';
import { parseRevocation } from './payloads.ts';
import { accept, refuse } from './problem.ts';

export interface AcmeRevocationDependencies extends KeyHolderDependencies {
  /** Reads that the log vouches for. */
  readonly orders: Pick<AcmeOrderStore, 'bySerial' | 'list'>;
  readonly eabKeys: Pick<EabKeyStore, 'byId'>;
  /** Who owns names. */
  readonly owners: () => NameOwners;
  readonly revocations: Pick<LedgerRevocations, 'revocation' | 'revoked'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
  /** Marks the nonce. @throws PkiError ACME_NONCE_USED */
  readonly useNonce: (nonce: SignedRequest['nonce']) => Promise<void>;
  /** From the order of a name to the end of its authorization, at most. */
  readonly longestAuthorizationSeconds: number;
  readonly clock: Clock;
}

/** RFC 5280 section 5.3.1. Others are for authorities, or no end of a certificate. */
const reasons: Readonly<Record<number, RevocationReason>> = {
  0: 'unspecified',
  1: 'keyCompromise',
  3: 'affiliationChanged',
  4: 'superseded',
  5: 'cessationOfOperation',
  9: 'privilegeWithdrawn',
};

/** So many orders of an account are looked through for authorizations of the names. */
const maximumOrders = 1_000;
const ordersOnPage = 200;

/** What an account wants to revoke. */
interface Wanted {
  readonly certificateDer: Buffer;
  /** Lower-case hex. */
  readonly serial: string;
  readonly reason: RevocationReason;
}

/** Revokes certificates (RFC 8555 section 7.6). */
export class AcmeRevocation {
  readonly #dependencies: AcmeRevocationDependencies;

  constructor(dependencies: AcmeRevocationDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * The account that ordered a certificate revokes it, or one that has shown control over all its
   * names, or its key. A certificate with noRevAvail is revoked on record alone: the log says so.
   *
   * @throws AcmeRefusal unauthorized (the same for a certificate of somebody else, and for one that
   *   is not ours), alreadyRevoked, badRevocationReason, malformed
   */
  async revoke(
    request: SignedRequest & { readonly account: AcmeAccount | undefined },
  ): Promise<AcmeAnswer> {
    const { certificateDer, reason: code } = accept(parseRevocation(request.payload));
    const reason = reasons[code];
    if (reason === undefined)
      return refuse(
        'badRevocationReason',
        `the reason ${code} is not accepted. Accepted: ${Object.keys(reasons).join(', ')}`,
      );
    const parsed = parseCertificate(certificateDer);
    if (!parsed.ok) return refuse('malformed', `"certificate": ${parsed.error.message}`);
    const wanted = { certificateDer, serial: parsed.value.serialHex, reason };
    await (request.account === undefined
      ? this.#byKey(request, wanted)
      : this.#byAccount(request, request.account, wanted));
    return { status: 200, body: undefined };
  }

  /**
   * The key of the certificate signs: whoever asks, it is compromised, and blocked for ever. That
   * also raises the reason of an earlier revocation.
   */
  async #byKey(request: SignedRequest, { certificateDer, serial }: Wanted): Promise<void> {
    const { revocations, blockedKeys, useNonce } = this.#dependencies;
    const provenSpkiDer = request.key.key.export({ type: 'spki', format: 'der' });
    const isDone =
      revocations.revocation(serial)?.reason === 'keyCompromise' &&
      blockedKeys.get(sha256Hex(provenSpkiDer)) !== undefined;
    await useNonce(request.nonce);
    try {
      await revokeAsKeyHolder(this.#dependencies, {
        certificateDer,
        serial,
        provenSpkiDer,
        peer: request.client,
      });
    } catch (thrown) {
      const { code, message, next } = PkiError.from(thrown);
      if (code === 'NOT_FOUND')
        refuse('unauthorized', 'there is no certificate of this CA with these bytes and this key');
      if (code === 'REVOCATION_NOT_POSSIBLE')
        refuse('unauthorized', `${message}. ${next}`, { code });
      throw thrown;
    }
    if (isDone) refuseRevoked();
  }

  async #byAccount(
    request: SignedRequest,
    account: AcmeAccount,
    { certificateDer, serial, reason }: Wanted,
  ): Promise<void> {
    const { certificates, inventory, authorities, revoker, revocations, useNonce } =
      this.#dependencies;
    const record = await certificates.bySerial(serial);
    const isOurs = record?.state === 'issued' && record.sha256 === sha256Hex(certificateDer);
    const provenBy = isOurs ? await this.#rightOf(account, record, certificateDer) : undefined;
    if (record === undefined || provenBy === undefined)
      return refuse(
        'unauthorized',
        'the account neither ordered this certificate nor has shown control over all its names',
      );
    await requireProven(record, { inventory, authorities });
    if (revocations.revoked(serial)) refuseRevoked();
    const how = unwrap(revocability(record, authorities.all()));
    await useNonce(request.nonce);
    await revoker.revokeOne(
      { record, how },
      {
        actor: accountActor(account.id),
        reason,
        blockKeys: false,
        detail: { provenBy, peer: request.client },
      },
    );
  }

  /**
   * By what an account may revoke a certificate with these bytes; undefined: it may not. Their digest
   * is that of the record, which is proven afterwards.
   */
  async #rightOf(
    account: AcmeAccount,
    record: CertificateRecord,
    certificateDer: Buffer,
  ): Promise<string | undefined> {
    if (record.kind !== 'endpoint') return undefined;
    const { orders } = this.#dependencies;
    const order = await orders.bySerial(record.serial);
    if (order?.accountId === account.id) return 'the account that ordered it';
    const names = namesOf(certificateDer);
    return names !== undefined && (await this.#hasShown(account, names))
      ? 'an account that has shown control over all its names'
      : undefined;
  }

  /**
   * Whether an account has shown control over every name by a challenge that still counts. It counts
   * while the account may order: authorizations of an EAB key that has ended are worth nothing, and
   * neither are those of names that its tenant has no more.
   */
  async #hasShown(account: AcmeAccount, names: ReadonlySet<string>): Promise<boolean> {
    const { orders, eabKeys, owners, longestAuthorizationSeconds, clock } = this.#dependencies;
    const key = await eabKeys.byId(account.eabKeyId);
    if (key === undefined) return false;
    requireStanding(key, clock.now());
    const claim = { by: 'tenant', name: account.tenant } as const;
    const dnsNames = [...names].filter((name) => isIP(name) === 0);
    if (!tenantOfNames(owners(), { dnsNames, claim }).ok) return false;
    const lacking = new Set(names);
    const first = firstIdAt(clock.nowMs() - longestAuthorizationSeconds * 1_000);
    const pages = pagesOf(
      ({ after = first, ...page }) => orders.list({ accountId: account.id }, { after, ...page }),
      { size: ordersOnPage },
    );
    let seen = 0;
    for await (const page of pages) {
      for (const order of page)
        for (const name of shownIn(order, clock.now())) lacking.delete(name);
      if (lacking.size === 0) return true;
      seen += page.length;
      if (seen >= maximumOrders) return false;
    }
    return false;
  }
}

const refuseRevoked = (): never =>
  refuse('alreadyRevoked', 'the certificate was revoked before. Nothing is to be done');

/** The smallest UUIDv7 of this millisecond: orders of before have no authorization that counts. */
function firstIdAt(timeMs: number): string {
  const time = Math.max(0, timeMs).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000`;
}

/** Every name of a certificate. Undefined: it has none, or one that no challenge shows. */
function namesOf(certificateDer: Buffer): ReadonlySet<string> | undefined {
  const parsed = parseCertificate(certificateDer);
  if (!parsed.ok) return undefined;
  const { dnsSans, ipSans, uriSans, otherSanKinds } = parsed.value;
  const isOther =
    uriSans.length > 0 || otherSanKinds.some((kind) => kind !== 'dNSName' && kind !== 'iPAddress');
  const names = new Set([...dnsSans, ...ipSans]);
  return isOther || names.size === 0 ? undefined : names;
}

/** That an account owns a name shows no control: see `Authorization.shownBy`. */
function shownIn(order: AcmeOrder, now: number): readonly string[] {
  const names = orderIdentifiers(order);
  return order.authorizations.flatMap((authorization, place) =>
    authorization.shownBy === 'challenge' && authorizationAt(authorization, now) === 'valid'
      ? [names[place]?.value ?? '']
      : [],
  );
}
