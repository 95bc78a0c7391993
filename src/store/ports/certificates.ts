import type {
  CertificateKind,
  CertificateRecord,
  CertificateSelection,
  CertificateState,
  RecordedProfile,
  TenantNames,
} from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface CertificateStore {
  bySerial(serial: string): Promise<CertificateRecord | undefined>;
  list(
    filter: CertificateFilter,
    order: 'created' | 'newest' | 'expiry',
    page: PageRequest,
  ): Promise<Page<CertificateRecord>>;
  /**
   * Counts certificates that are issued or abandoned, not expired, and not confirmed as replaced.
   */
  countLive(filter: CertificateFilter, now: number): Promise<number>;
  /** Latest notAfter of the live certificates, or 0. */
  lastNotAfter(filter: CertificateFilter, now: number): Promise<number>;
  /**
   * The next certificates of a selection that have not ended at `now` (Unix seconds) and were
   * signed, or may have been, in the order of their creation. Looks at a bounded number of rows, so
   * that a step may give none and still have a `next`. `next`: pass it as `after`; undefined: this
   * was the last step. `after` is 0 first.
   */
  scan(
    selection: CertificateSelection,
    step: { readonly after: number; readonly now: number; readonly limit: number },
  ): Promise<{ readonly items: readonly CertificateRecord[]; readonly next: number | undefined }>;
  /** Serials and keys of the certificates of a holder that have not ended and have no successor. */
  unreplacedOf(holder: string, now: number): Promise<readonly UnreplacedCertificate[]>;
  /**
   * The issued certificates of a holder that have not ended, in the order of their ends. `after`: the
   * last one of the step before.
   */
  heldBy(
    holder: string,
    step: {
      readonly now: number;
      readonly limit: number;
      readonly after?: Pick<HeldCertificate, 'notAfter' | 'sequence'>;
    },
  ): Promise<readonly HeldCertificate[]>;
  countByState(): Promise<Readonly<Record<CertificateState, number>>>;
}

export interface UnreplacedCertificate {
  readonly serial: string;
  readonly publicKeySha256: string;
  readonly authorityId: string;
}

export interface HeldCertificate extends UnreplacedCertificate {
  readonly sequence: number;
  readonly notAfter: number;
}

export interface CertificateFilter {
  readonly spiffeId?: string;
  readonly spiffeIdPrefix?: string;
  readonly kind?: CertificateKind;
  readonly state?: CertificateState;
  readonly holder?: string;
  readonly authorityId?: string;
  readonly entryId?: string;
  readonly delegationId?: string;
  readonly profile?: RecordedProfile;
  /**
   * Of certificates of names alone: the SPIFFE ID of the entry as it is now, or the holder where
   * there is no entry.
   */
  readonly owner?: string;
  /** A DNS name, as it is in the certificate; also beside a SPIFFE ID. */
  readonly dnsName?: string;
  /** Every DNS name below this one. */
  readonly dnsSuffix?: string;
  /** In canonical text. */
  readonly ip?: string;
  /** Issued for this tenant, or with a SPIFFE ID or a DNS name of it. */
  readonly owned?: TenantNames;
  readonly expiresBefore?: number;
  readonly expiresAfter?: number;
}
