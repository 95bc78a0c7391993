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

/** What stands in the next CRL of an authority, beside what was revoked of its leaves. */
export interface CrlDraft {
  readonly authorityId: string;
  /** The certificate of the authority. */
  readonly issuerDer: Uint8Array;
  readonly number: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Entries of certificates that ended before are left out, and forgotten. */
  readonly endingFrom: number;
  /** Authorities below it that were revoked. */
  readonly below: readonly CrlContent[];
}

/** Plain data, so that a request can go to another thread. */
export type CrlRequest =
  /** `anew`: the entries before these are forgotten. */
  | {
      readonly kind: 'add';
      readonly authorityId: string;
      readonly anew: boolean;
      readonly entries: readonly CrlContent[];
    }
  | {
      readonly kind: 'unlisted';
      readonly authorityId: string;
      readonly der: Uint8Array;
      readonly below: readonly CrlContent[];
      readonly now: number;
    }
  | { readonly kind: 'build'; readonly draft: CrlDraft }
  | {
      readonly kind: 'finish';
      readonly authorityId: string;
      readonly keyType: KeyType;
      readonly signature: Uint8Array;
    };

export interface CrlAnswers {
  readonly add: undefined;
  /** Whether a certificate is revoked and valid, and the CRL does not name it. */
  readonly unlisted: boolean;
  readonly build: { readonly tbsDer: Uint8Array; readonly entries: number };
  readonly finish: { readonly der: Uint8Array; readonly sha256: string };
}

/**
 * The entries of the CRLs of our authorities, and the bytes made of them. Everything here takes
 * time in the number of the entries. Owner of the entries, which come once each, and of drafts that
 * wait for their signature.
 */
export class CrlBook {
  readonly #entries = new Map<string, Map<string, CrlContent>>();
  readonly #drafts = new Map<
    string,
    { readonly tbsDer: Uint8Array; readonly issuerDer: Uint8Array }
  >();

  /** @throws PkiError LINT_FAILED, CRL_INVALID */
  answer<Kind extends CrlRequest['kind']>(
    request: Extract<CrlRequest, { kind: Kind }>,
  ): CrlAnswers[Kind];
  answer(request: CrlRequest): CrlAnswers[CrlRequest['kind']] {
    switch (request.kind) {
      case 'add':
        return this.#add(request);
      case 'unlisted':
        return this.#unlisted(request);
      case 'build':
        return this.#build(request.draft);
      case 'finish':
        return this.#finish(request);
    }
  }

  #add({ authorityId, anew, entries }: Extract<CrlRequest, { kind: 'add' }>): undefined {
    let known = this.#entries.get(authorityId);
    if (known === undefined || anew) {
      known = new Map();
      this.#entries.set(authorityId, known);
    }
    for (const entry of entries) known.set(entry.serial, entry);
  }

  #unlisted(request: Extract<CrlRequest, { kind: 'unlisted' }>): boolean {
    const crl = parseCrl(bufferOf(request.der));
    if (!crl.ok) return true;
    const missing = ({ serial, notAfter }: CrlContent): boolean =>
      notAfter >= request.now && !crl.value.revoked.has(serial);
    if (request.below.some(missing)) return true;
    for (const entry of this.#of(request.authorityId).values()) if (missing(entry)) return true;
    return false;
  }

  #build(draft: CrlDraft): CrlAnswers['build'] {
    const entries = this.#of(draft.authorityId);
    for (const [serial, { notAfter }] of entries)
      if (notAfter < draft.endingFrom) entries.delete(serial);
    // The CRL begins in the past, for clocks that are behind. Some consumers ignore an entry with a
    // date after thisUpdate until their clock reaches it, so that the CRL lists the earlier date.
    // The record keeps the true one.
    const revoked = [...draft.below, ...entries.values()].map(({ serial, revokedAt, reason }) => ({
      serialHex: serial,
      revokedAt: Math.min(revokedAt, draft.thisUpdate),
      ...(reason === undefined ? {} : { reason }),
    }));
    const issuer = unwrap(parseCertificate(bufferOf(draft.issuerDer)));
    const { number, thisUpdate, nextUpdate } = draft;
    const input = { issuer, number: BigInt(number), thisUpdate, nextUpdate, revoked };
    const tbsDer = buildCrlTbs(input);
    unwrap(lintCrl(tbsDer, input));
    this.#drafts.set(draft.authorityId, { tbsDer, issuerDer: draft.issuerDer });
    return { tbsDer, entries: revoked.length };
  }

  #finish({
    authorityId,
    keyType,
    signature,
  }: Extract<CrlRequest, { kind: 'finish' }>): CrlAnswers['finish'] {
    const draft = this.#drafts.get(authorityId);
    if (draft === undefined)
      throw new PkiError('INTERNAL', `no CRL of authority ${authorityId} waits for its signature`);
    this.#drafts.delete(authorityId);
    const der = assembleSigned(bufferOf(draft.tbsDer), keyType, bufferOf(signature));
    // verify the CRL with the certificate: a CRL that does not verify would fail every chain below
    unwrap(
      checkCrlSignature(unwrap(parseCrl(der)), unwrap(parseCertificate(bufferOf(draft.issuerDer)))),
    );
    return { der, sha256: sha256Hex(der) };
  }

  #of(authorityId: string): Map<string, CrlContent> {
    let entries = this.#entries.get(authorityId);
    if (entries === undefined) {
      entries = new Map();
      this.#entries.set(authorityId, entries);
    }
    return entries;
  }
}

/** The same bytes: what comes from another thread is no Buffer. */
export const bufferOf = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
