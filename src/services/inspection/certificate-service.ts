import { PkiError } from '../../common/errors/index.ts';
import { type CertificateRecord, isDnsScope, wholeTrustDomain } from '../../domain/index.ts';
import type {
  CertificateFilter,
  CertificateStore,
  EntryStore,
  Page,
  PageRequest,
} from '../../store/ports/index.ts';
import { visiblePage } from '../callers/access.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import type { Certificates } from '../services.ts';
import { tenantNamed } from '../tenants/names-of-tenants.ts';
import { coversRecord } from './record-target.ts';
import { refusing } from '../callers/refusal-log.ts';
import { checkPage } from '../requests.ts';
import type { InspectionDependencies } from './inspection-dependencies.ts';

export interface CertificateDependencies extends InspectionDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial' | 'list'>;
  readonly entries: Pick<EntryStore, 'byId'>;
}

/** The certificates that one prefix of a role can cover. */
const narrowing = (scope: string): CertificateFilter => {
  if (!isDnsScope(scope))
    return scope.endsWith('/') ? { spiffeIdPrefix: scope } : { spiffeId: scope };
  const name = scope.slice('dns:'.length);
  return {
    spiffeIdPrefix: 'dns:',
    ...(name.startsWith('.') ? { dnsSuffix: name.slice(1) } : { dnsName: name }),
  };
};

/** Conditions that a narrowed filter states itself. */
const narrowed = ['spiffeId', 'spiffeIdPrefix', 'kind', 'dnsName', 'dnsSuffix', 'owned'] as const;

/** The issued certificates. A role sees the certificates of identities below its prefixes. */
export class CertificateService implements Certificates {
  readonly #dependencies: CertificateDependencies;

  constructor(dependencies: CertificateDependencies) {
    this.#dependencies = dependencies;
  }

  list(
    caller: OperatorCaller,
    { tenant, ...stated }: CertificateFilter & { readonly tenant?: string },
    order: 'created' | 'newest' | 'expiry',
    page: PageRequest,
  ): Promise<Page<CertificateRecord>> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'ListCertificates' },
      async () => {
        const { access } = this.#dependencies;
        const rights = await access.of(caller);
        rights.require('certificate.read', { kind: 'none' });
        const filter =
          tenant === undefined
            ? stated
            : { ...stated, owned: tenantNamed(rights, access.owners, tenant) };
        const prefixes = rights.prefixes('certificate.read');
        // With one prefix, the database narrows the list. Each result is still checked.
        const only =
          prefixes?.length === 1 &&
          prefixes[0] !== wholeTrustDomain(this.#dependencies.settings.trustDomain) &&
          narrowed.every((condition) => filter[condition] === undefined)
            ? prefixes[0]
            : undefined;
        const selection = only === undefined ? filter : { ...filter, ...narrowing(only) };
        // certificates of authorities have no path: they are visible only to roles on the whole
        // trust domain
        return visiblePage(
          (next) => this.#dependencies.certificates.list(selection, order, next),
          (record) => coversRecord(rights, access, { verb: 'certificate.read', record }),
          checkPage(page),
        );
      },
    );
  }

  async ownerOf(record: CertificateRecord): Promise<string> {
    if (record.kind !== 'endpoint') return '';
    if (record.entryId === null) return record.holder;
    const entry = await this.#dependencies.entries.byId(record.entryId);
    return entry?.spiffeId ?? record.holder;
  }

  get(caller: OperatorCaller, serial: string): Promise<CertificateRecord> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'GetCertificate', subject: serial.slice(0, 64) },
      async () => {
        const rights = await this.#dependencies.access.of(caller);
        rights.require('certificate.read', { kind: 'none' });
        const record = await this.#dependencies.certificates.bySerial(serial.toLowerCase());
        const visible =
          record !== undefined &&
          coversRecord(rights, this.#dependencies.access, { verb: 'certificate.read', record });
        if (!visible)
          throw new PkiError(
            'NOT_FOUND',
            `there is no certificate with the serial ${JSON.stringify(serial.slice(0, 64))}`,
          );
        return record;
      },
    );
  }
}
