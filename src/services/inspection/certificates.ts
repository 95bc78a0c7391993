import type { CertificateRecord } from '../../domain/index.ts';
import type { CertificateFilter, Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface Certificates {
  list(
    caller: OperatorCaller,
    filter: CertificateFilter & { readonly tenant?: string },
    order: 'created' | 'newest' | 'expiry',
    page: PageRequest,
  ): Promise<Page<CertificateRecord>>;
  /**
   * Who owns a certificate of names: the SPIFFE ID of its entry as it is now, the client of its
   * delegation, or who asked. Empty for other kinds.
   */
  ownerOf(record: CertificateRecord): Promise<string>;
  get(caller: OperatorCaller, serial: string): Promise<CertificateRecord>;
}
