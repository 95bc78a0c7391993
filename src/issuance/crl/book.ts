import { assembleSigned } from '../../certs/assemble.ts';
import { lintCrl } from '../../certs/crl-lint.ts';
import { buildCrlTbs } from '../../certs/crl-tbs.ts';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import {
  checkCrlSignature,
  parseCertificate,
  parseCrl,
  sha256Hex,
  type KeyType,
} from '../../common/x509/index.ts';
import type { CrlContent } from '../../domain/index.ts';
import { readEntries } from '../../ledger/revoked-entries.ts';

/** A CRL without its entries. */
export interface CrlDraft {
  /** See `crlId`. */
  readonly id: string;
  /** The certificate of the authority. */
  readonly issuerDer: Uint8Array;
  readonly number: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** undefined: the CRL is complete. */
  readonly distributionPoint: string | undefined;
  /** Authorities below it that were revoked. */
  readonly below: readonly CrlContent[];
}

/** Plain data, so that a request can go to another thread. */
export type CrlRequest =
  | {
      readonly kind: 'build';
      readonly draft: CrlDraft;
      /** What was revoked of its leaves, in the form of `readEntries`. */
      readonly parts: readonly Uint8Array[];
    }
  | {
      readonly kind: 'finish';
      readonly id: string;
      readonly keyType: KeyType;
      readonly signature: Uint8Array;
    };

export interface CrlAnswers {
  readonly build: { readonly tbsDer: Uint8Array; readonly entries: number };
  readonly finish: { readonly der: Uint8Array; readonly sha256: string };
}

/**
 * Makes the bytes of CRLs. Everything here takes time in the number of the entries. Owner of drafts
 * that wait for their signature.
 */
export class CrlBook {
  readonly #drafts = new Map<
    string,
    { readonly tbsDer: Uint8Array; readonly issuerDer: Uint8Array }
  >();

  /** @throws PkiError LINT_FAILED, CRL_INVALID */
  answer<Kind extends CrlRequest['kind']>(
    request: Extract<CrlRequest, { kind: Kind }>,
  ): CrlAnswers[Kind];
  answer(request: CrlRequest): CrlAnswers[CrlRequest['kind']] {
    return request.kind === 'build' ? this.#build(request) : this.#finish(request);
  }

  #build({ draft, parts }: Extract<CrlRequest, { kind: 'build' }>): CrlAnswers['build'] {
    // The CRL begins in the past, for clocks that are behind. Some consumers ignore an entry with a
    // date after thisUpdate until their clock reaches it, so that the CRL lists the earlier date.
    // The record keeps the true one.
    const listed = (revokedAt: number): number => Math.min(revokedAt, draft.thisUpdate);
    const revoked = draft.below.map(({ serial, revokedAt, reason }) => ({
      serialHex: serial,
      revokedAt: listed(revokedAt),
      ...(reason === undefined ? {} : { reason }),
    }));
    for (const { serialHex, revokedAt, reason } of readEntries(parts))
      revoked.push({
        serialHex,
        revokedAt: listed(revokedAt),
        ...(reason === 'unspecified' ? {} : { reason }),
      });
    const issuer = unwrap(parseCertificate(bufferOf(draft.issuerDer)));
    const { number, thisUpdate, nextUpdate, distributionPoint } = draft;
    const input = {
      ...{ issuer, number: BigInt(number), thisUpdate, nextUpdate, revoked, distributionPoint },
    };
    const tbsDer = buildCrlTbs(input);
    unwrap(lintCrl(tbsDer, input));
    this.#drafts.set(draft.id, { tbsDer, issuerDer: draft.issuerDer });
    return { tbsDer, entries: revoked.length };
  }

  #finish({
    id,
    keyType,
    signature,
  }: Extract<CrlRequest, { kind: 'finish' }>): CrlAnswers['finish'] {
    const draft = this.#drafts.get(id);
    if (draft === undefined) throw new PkiError('INTERNAL', `no CRL ${id} waits for its signature`);
    this.#drafts.delete(id);
    const der = assembleSigned(bufferOf(draft.tbsDer), keyType, bufferOf(signature));
    // verify the CRL with the certificate: a CRL that does not verify would fail every chain below
    const parsed = unwrap(parseCrl(der, { ofShards: true }));
    unwrap(checkCrlSignature(parsed, unwrap(parseCertificate(bufferOf(draft.issuerDer)))));
    return { der, sha256: sha256Hex(der) };
  }
}

/** The same bytes: what comes from another thread is no Buffer. */
export const bufferOf = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
