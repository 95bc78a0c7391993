import type { OperationName } from '../../common/wire/index.ts';
import type { AuditRecord } from '../../domain/index.ts';
import type { LedgerEvidence, LedgerLog } from '../../ledger/index.ts';
import type {
  AuditFilter,
  AuditStore,
  CertificateStore,
  Page,
  PageRequest,
} from '../../store/ports/index.ts';
import {
  exportLines,
  watchRecords,
  type AuditStreamDependencies,
  type LogFacts,
  type WatchedRecord,
  type WatchFilter,
} from './audit-stream.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import type { Audit } from '../services.ts';
import type { InspectionDependencies } from './inspection-dependencies.ts';
import { refusing } from '../callers/refusal-log.ts';
import { checkPage } from '../requests.ts';

export type { LogFacts } from './audit-stream.ts';

export interface AuditDependencies extends InspectionDependencies {
  readonly audit: Pick<AuditStore, 'list' | 'count'>;
  readonly log: LedgerLog;
  readonly certificates: Pick<CertificateStore, 'list'>;
  readonly evidence: LedgerEvidence;
  readonly facts: LogFacts;
}

const chunkBytes = 256 * 1024;

/**
 * The record of all acts. It names identities and acts of everybody, so that it requires audit.read
 * on the whole trust domain.
 */
export class AuditService implements Audit {
  readonly #dependencies: AuditDependencies;

  constructor(dependencies: AuditDependencies) {
    this.#dependencies = dependencies;
  }

  list(caller: OperatorCaller, filter: AuditFilter, page: PageRequest): Promise<Page<AuditRecord>> {
    return this.#reading(caller, 'ListAuditRecords', () =>
      this.#dependencies.audit.list(filter, checkPage(page)),
    );
  }

  export(caller: OperatorCaller, signal: AbortSignal): Promise<AsyncIterable<Buffer>> {
    return this.#reading(caller, 'ExportAudit', () =>
      Promise.resolve(chunks(this.#streamDeps(), signal)),
    );
  }

  watch(
    caller: OperatorCaller,
    filter: WatchFilter,
    signal: AbortSignal,
  ): Promise<AsyncIterable<WatchedRecord | undefined>> {
    return this.#reading(caller, 'WatchAudit', () =>
      Promise.resolve(watchRecords(this.#streamDeps(), filter, signal)),
    );
  }

  #streamDeps(): AuditStreamDependencies {
    const { audit, log, certificates, evidence, clock, facts } = this.#dependencies;
    return { audit, log, certificates, evidence, clock, facts };
  }

  #reading<T>(caller: OperatorCaller, operation: OperationName, act: () => Promise<T>): Promise<T> {
    return refusing(this.#dependencies.refusals, { caller, operation }, async () => {
      (await this.#dependencies.access.of(caller)).require(
        'audit.read',
        this.#dependencies.access.all,
      );
      return act();
    });
  }
}

async function* chunks(
  dependencies: AuditStreamDependencies,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let text: string[] = [];
  let length = 0;
  for await (const line of exportLines(dependencies, signal)) {
    const json = JSON.stringify(line);
    text.push(json);
    length += json.length;
    if (length < chunkBytes) continue;
    yield Buffer.from(`${text.join('\n')}\n`, 'utf8');
    text = [];
    length = 0;
  }
  if (text.length > 0) yield Buffer.from(`${text.join('\n')}\n`, 'utf8');
}
