import type { CertificateRecord } from '../../domain/index.ts';
import type { CertificateFilter, Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface Certificates {
  list(
    caller: OperatorCaller,
    filter: CertificateFilter,
    order: 'created' | 'newest' | 'expiry',
    page: PageRequest,
  ): Promise<Page<CertificateRecord>>;
  get(caller: OperatorCaller, serial: string): Promise<CertificateRecord>;
}
