import type { Clock } from '../../common/runtime/index.ts';
import { parseCertificate, sha256Hex } from '../../common/x509/index.ts';
import {
  assembleOcsp,
  buildOcspTbs,
  ocspForm,
  ocspIssuerHashes,
  parseOcspRequest,
  type OcspCertId,
  type OcspError,
  type OcspHash,
} from '../../certs/index.ts';
import type { Authority, OcspRecord } from '../../domain/index.ts';
import type { LedgerRevocations } from '../../ledger/index.ts';
import type { OcspStore } from '../../store/ports/index.ts';
import { contentOf } from './sign-answers.ts';
import type { OcspSigner } from './signers.ts';

/** What a client is told. An error has no signature. */
export type OcspReply =
  | { readonly kind: 'error'; readonly error: OcspError }
  | {
      readonly kind: 'answer';
      readonly status: 'good' | 'revoked';
      readonly der: Buffer;
      readonly producedAt: number;
      readonly nextUpdate: number;
    };

export interface OcspAnswererDependencies {
  readonly authorities: { all(): readonly Authority[] };
  /** Whether there are answers about leaves of this authority. */
  readonly answers: (authority: Authority) => boolean;
  readonly store: Pick<OcspStore, 'bySerial'>;
  readonly revocations: Pick<LedgerRevocations, 'revoked'>;
  /** Whether an answer about this leaf is about to be signed. */
  readonly isWaiting: (serial: string) => boolean;
  readonly signer: (sequence: number) => OcspSigner | undefined;
  /** True while the database is not trusted. */
  readonly held: () => boolean;
  /** By a clock that is not believed nothing has ended. */
  readonly clockBelieved: () => boolean;
  readonly clock: Pick<Clock, 'now'>;
}

const refused = (error: OcspError): OcspReply => ({ kind: 'error', error });

/**
 * Answers requests from what was signed in advance: no request makes a token sign.
 *
 * A serial about which there is no answer is `unauthorized`, without a signature (RFC 5019, section
 * 2.2.3). A signed `unknown` or `revoked` (RFC 6960, section 2.2) for whatever a stranger asks about
 * would let everybody use the token, and could not be made in advance.
 *
 * The log has the last word on each answer: a leaf that it has as revoked is never answered with
 * `good`, whatever the database holds.
 */
export class OcspAnswerer {
  readonly #dependencies: OcspAnswererDependencies;
  readonly #hashes = new Map<string, Readonly<Record<OcspHash, { name: Buffer; key: Buffer }>>>();

  constructor(dependencies: OcspAnswererDependencies) {
    this.#dependencies = dependencies;
  }

  async reply(authorityId: string, requestDer: Buffer): Promise<OcspReply> {
    const { authorities, answers, store, held } = this.#dependencies;
    const request = parseOcspRequest(requestDer);
    if (!request.ok) return refused('malformedRequest');
    const { hash, serialHex } = request.value;
    const issuing = authorities.all().find(({ id }) => id === authorityId);
    if (
      hash === undefined ||
      issuing === undefined ||
      !answers(issuing) ||
      !this.#isOf(request.value, hash, issuing)
    )
      return refused('unauthorized');
    if (held()) return refused('tryLater');
    const record = await store.bySerial(serialHex);
    if (record === undefined)
      return refused(this.#dependencies.isWaiting(serialHex) ? 'tryLater' : 'unauthorized');
    return this.#answer(record, hash, authorityId);
  }

  #answer(record: OcspRecord, hash: OcspHash, authorityId: string): OcspReply {
    const { revocations, signer, clock, clockBelieved } = this.#dependencies;
    const by = signer(record.signer);
    const now = clockBelieved() ? clock.now() : 0;
    if (record.notAfter < now) return refused('unauthorized');
    if (
      by === undefined ||
      by.authorityId !== authorityId ||
      record.form !== ocspForm ||
      record.nextUpdate <= now ||
      (record.revoked === undefined && revocations.revoked(record.serial))
    )
      return refused('tryLater');
    const tbsDer = buildOcspTbs(by.responder, contentOf(record), hash);
    return {
      kind: 'answer',
      status: record.revoked === undefined ? 'good' : 'revoked',
      der: assembleOcsp(by.responder, tbsDer, record.signatures[hash]),
      producedAt: record.producedAt,
      nextUpdate: record.nextUpdate,
    };
  }

  /** Whether the request names this authority as the issuer. */
  #isOf(
    { issuerNameHash, issuerKeyHash }: OcspCertId,
    hash: OcspHash,
    { certificateDer }: Authority,
  ): boolean {
    const der = certificateDer as Buffer;
    const digest = sha256Hex(der);
    let hashes = this.#hashes.get(digest);
    if (hashes === undefined) {
      const issuer = parseCertificate(der);
      if (!issuer.ok) return false;
      hashes = {
        sha1: ocspIssuerHashes(issuer.value, 'sha1'),
        sha256: ocspIssuerHashes(issuer.value, 'sha256'),
      };
      this.#hashes.set(digest, hashes);
    }
    const { name, key } = hashes[hash];
    return name.equals(issuerNameHash) && key.equals(issuerKeyHash);
  }
}
