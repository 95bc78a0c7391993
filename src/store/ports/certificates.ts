import type {
  CertificateKind,
  CertificateRecord,
  CertificateState,
  RecordedProfile,
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
  countByState(): Promise<Readonly<Record<CertificateState, number>>>;
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
  readonly expiresBefore?: number;
  readonly expiresAfter?: number;
}
