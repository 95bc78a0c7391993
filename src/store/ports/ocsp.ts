import type { OcspRecord } from '../../domain/index.ts';

/**
 * OCSP answers that were signed in advance. Rows prove nothing and need not: each answer has its
 * signature, and whoever serves one compares its status with the log. Nothing here moves the
 * revision or is recorded in the log, which has what the answers are made of.
 */
export interface OcspStore {
  /** Puts answers in the place of earlier ones, in one commit. */
  put(answers: readonly OcspRecord[]): Promise<void>;
  bySerial(serial: string): Promise<OcspRecord | undefined>;
  /** The present answers of these serials, in their order. */
  bySerials(serials: readonly string[]): Promise<readonly (OcspRecord | undefined)[]>;
  /** Answers that are to be signed anew at `now`, the longest due first. */
  due(now: number, limit: number): Promise<readonly OcspRecord[]>;
  /** The answer that is due first, whenever that is. */
  earliest(): Promise<OcspRecord | undefined>;
  count(): Promise<number>;
  /**
   * Issued revocable leaves of an authority that end at `now` or later, with whether there is an
   * answer of this form, by their ends. `after`: the last place of the previous call.
   */
  leaves(
    of: { readonly authorityId: string; readonly now: number; readonly form: number },
    after: OcspPlace | undefined,
    limit: number,
  ): Promise<readonly OcspLeafRow[]>;
  drop(serials: readonly string[]): Promise<void>;
  /** Removes answers about leaves that ended before; at most `limit`. Returns their number. */
  prune(endedBefore: number, limit: number): Promise<number>;
}

export interface OcspPlace {
  readonly notAfter: number;
  readonly sequence: number;
}

export interface OcspLeafRow extends OcspPlace {
  readonly serial: string;
  /** The certificate, if there is no answer; undefined: there is one. */
  readonly unanswered: Buffer | undefined;
}
