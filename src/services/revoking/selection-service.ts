import { PkiError, unwrap } from '../../common/errors/index.ts';
import { uuidv7 } from '../../common/runtime/index.ts';
import {
  checkSelection,
  raisesReason,
  revokedAtOnce,
  selectionTexts,
  type CertificateRecord,
  type CertificateSelection,
  type RevocationReason,
} from '../../domain/index.ts';
import type { RecordedIssuance } from '../../issuance/index.ts';
import type { RecordRange } from '../../ledger/index.ts';
import type { AuditStore, CertificateStore } from '../../store/ports/index.ts';
import type { OperatorRights } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import { refusing } from '../callers/refusal-log.ts';
import type { InspectionDependencies } from '../inspection/inspection-dependencies.ts';
import { coversRecord } from '../inspection/record-target.ts';
import { checkText } from '../requests.ts';
import { tenantNamed } from '../tenants/names-of-tenants.ts';
import {
  presentRange,
  selectedByLog,
  type LoggedSelectionDependencies,
} from './logged-selection.ts';
import { isProven, type RevocationProof } from './proof.ts';
import { revocationReasonOf } from './reasons.ts';
import { revocability } from './revocability.ts';
import type { Revocable, Revoker } from './revoker.ts';
import { selected, selectedWithUnderWay } from './selected.ts';
import { SelectionTally } from './selection-outcome.ts';
import type {
  SelectionOutcome,
  SelectionRequest,
  SelectionRevocations,
} from './selection-revocations.ts';

export interface SelectionDependencies
  extends InspectionDependencies,
    Omit<LoggedSelectionDependencies, 'certificates' | 'clock'> {
  readonly certificates: Pick<CertificateStore, 'bySerial' | 'scan'>;
  readonly recorded: Pick<RecordedIssuance, 'underWay'>;
  readonly inventory: RevocationProof['inventory'] & LoggedSelectionDependencies['inventory'];
  readonly audit: Pick<AuditStore, 'append' | 'list'>;
  readonly revoker: Revoker;
}

type RecordParts = AsyncIterable<readonly CertificateRecord[]>;

/** A request whose caller and form were checked. */
interface Checked extends SelectionRequest {
  readonly actor: string;
  readonly stated: RevocationReason;
  readonly blocks: boolean;
  readonly rights: OperatorRights;
}

/** Owner of the counts of the acts that are under way. */
export class SelectionService implements SelectionRevocations {
  readonly #dependencies: SelectionDependencies;
  readonly #underWay = new Map<
    string,
    { readonly actor: string; readonly tally: SelectionTally }
  >();

  constructor(dependencies: SelectionDependencies) {
    this.#dependencies = dependencies;
  }

  preview(
    caller: OperatorCaller,
    request: SelectionRequest,
    signal?: AbortSignal,
  ): Promise<SelectionOutcome> {
    return this.#refusing(caller, async () => {
      const checked = await this.#check(caller, request);
      const range = await presentRange(this.#dependencies);
      const tally = new SelectionTally();
      const shown = await this.#countRows(checked, tally, signal);
      try {
        for await (const { certificates, unknown } of this.#logged(checked, range, shown)) {
          signal?.throwIfAborted();
          for (const each of certificates)
            tally.countLogged(each, this.#isRevoked(each, checked, tally));
          for (const serial of unknown) tally.foundAltered(serial);
        }
      } catch (thrown) {
        // it must not keep an operator from revoking what the log still has
        if (PkiError.from(thrown).code !== 'AUDIT_INVALID') throw thrown;
      }
      return previewed(checked, tally);
    });
  }

  estimate(caller: OperatorCaller, request: SelectionRequest): Promise<SelectionOutcome> {
    return this.#refusing(caller, async () => {
      const checked = await this.#check(caller, request);
      const tally = new SelectionTally();
      await this.#countRows(checked, tally, undefined);
      return previewed(checked, tally);
    });
  }

  revoke(
    caller: OperatorCaller,
    request: SelectionRequest,
    signal?: AbortSignal,
  ): Promise<SelectionOutcome> {
    return this.#refusing(caller, async () => {
      const checked = await this.#check(caller, request);
      const actId = request.actId === '' ? uuidv7(this.#dependencies.clock.nowMs()) : request.actId;
      if (this.#underWay.has(actId))
        throw new PkiError('CONFLICT', `an act with the ID ${actId} is under way`);
      const tally = new SelectionTally();
      this.#underWay.set(actId, { actor: checked.actor, tally });
      let isComplete = false;
      try {
        isComplete = await this.#run(checked, { actId, tally, signal });
      } catch (thrown) {
        throw afterRevoking(tally, PkiError.from(thrown));
      } finally {
        this.#underWay.delete(actId);
        await this.#record(checked, { actId, tally, isComplete });
      }
      if (!isComplete) throw interrupted(tally);
      return tally.outcome();
    });
  }

  async progress(
    caller: OperatorCaller,
    actId: string,
  ): Promise<{ readonly matched: number; readonly revoked: number } | undefined> {
    const act = this.#underWay.get(actId);
    return act === undefined || act.actor !== actorOf(caller)
      ? undefined
      : { matched: act.tally.matched, revoked: act.tally.revoked };
  }

  #refusing<T>(caller: OperatorCaller, act: () => Promise<T>): Promise<T> {
    const { refusals } = this.#dependencies;
    return refusing(refusals, { caller, operation: 'RevokeCertificates' }, act);
  }

  async #check(caller: OperatorCaller, request: SelectionRequest): Promise<Checked> {
    const rights = await this.#dependencies.access.of(caller);
    rights.require('certificate.revoke', { kind: 'none' });
    const stated = revocationReasonOf(request.reason);
    const selection = this.#withNames(rights, unwrap(checkSelection(request.selection)));
    if (request.actId !== '') checkText('act_id', request.actId, 64);
    const blocks = request.blockKeys ?? stated === 'keyCompromise';
    return { ...request, selection, actor: actorOf(caller), stated, blocks, rights };
  }

  #withNames(rights: OperatorRights, selection: CertificateSelection): CertificateSelection {
    const { tenant } = selection;
    return tenant === undefined
      ? selection
      : { ...selection, owned: tenantNamed(rights, this.#dependencies.access.owners, tenant) };
  }

  /** Returns the serials that the rows show. */
  async #countRows(
    checked: Checked,
    tally: SelectionTally,
    signal: AbortSignal | undefined,
  ): Promise<ReadonlySet<string>> {
    const shown = new Set<string>();
    for await (const part of this.#parts(checked, tally, this.#issued(checked))) {
      signal?.throwIfAborted();
      for (const each of part) {
        shown.add(each.record.serial);
        tally.count(each, this.#isRevoked(each, checked, tally));
      }
    }
    return shown;
  }

  /** Counts it where the act would raise its reason. */
  #isRevoked({ record }: Revocable, { stated }: Checked, tally: SelectionTally): boolean {
    const known = this.#dependencies.revocations.revocation(record.serial)?.reason;
    if (known !== undefined && raisesReason(known, stated)) tally.raised += 1;
    return known !== undefined;
  }

  /** Returns false if the signal ended it. */
  async #run(
    checked: Checked,
    {
      actId,
      tally,
      signal,
    }: {
      readonly actId: string;
      readonly tally: SelectionTally;
      readonly signal: AbortSignal | undefined;
    },
  ): Promise<boolean> {
    const range = await presentRange(this.#dependencies);
    const revoke = async (part: readonly Revocable[]): Promise<ReadonlySet<string>> => {
      const { before, raised, keysBlocked } = await this.#dependencies.revoker.revoke(part, {
        actor: checked.actor,
        reason: checked.stated,
        blockKeys: checked.blocks,
        detail: { act: actId },
      });
      tally.keysBlocked += keysBlocked;
      tally.raised += raised;
      return before;
    };
    const records = this.#issuedAndUnderWay(checked, signal);
    for await (const part of this.#parts(checked, tally, records)) {
      if (signal?.aborted === true) return false;
      const before = await revoke(part);
      for (const each of part) tally.count(each, before.has(each.record.serial));
    }
    for await (const { certificates, unknown } of this.#logged(checked, range)) {
      if (signal?.aborted === true) return false;
      const before = certificates.length > 0 ? await revoke(certificates) : new Set<string>();
      for (const each of certificates) tally.countLogged(each, before.has(each.record.serial));
      for (const serial of unknown) tally.foundAltered(serial);
    }
    return signal?.aborted !== true;
  }

  #logged(
    { selection, stated, rights }: Checked,
    range: RecordRange,
    except: ReadonlySet<string> = new Set(),
  ): ReturnType<typeof selectedByLog> {
    const covers = (record: CertificateRecord): boolean => this.#covers(rights, record);
    const options = { range, reason: stated, covers, except };
    return selectedByLog(this.#dependencies, selection, options);
  }

  #issued({ selection }: Checked): RecordParts {
    const { certificates, clock } = this.#dependencies;
    return selected(certificates, selection, { now: clock.now(), limit: revokedAtOnce });
  }

  /** Also what is being issued now: it may be released after its place was passed. */
  #issuedAndUnderWay({ selection }: Checked, signal: AbortSignal | undefined): RecordParts {
    const { certificates, recorded, clock } = this.#dependencies;
    return selectedWithUnderWay(certificates, selection, {
      ...{ now: clock.now(), limit: revokedAtOnce, signal },
      underWay: recorded.underWay(),
    });
  }

  /** The certificates that can be revoked, in parts. Counts the others. */
  async *#parts(
    { rights }: Checked,
    tally: SelectionTally,
    parts: RecordParts,
  ): AsyncGenerator<readonly Revocable[]> {
    const all = this.#dependencies.authorities.all();
    for await (const records of parts) {
      const part: Revocable[] = [];
      for (const record of records) {
        if (!this.#covers(rights, record)) continue;
        const how = revocability(record, all);
        if (!how.ok) tally.skip(record.kind, how.error.next);
        else if (await isProven(record, this.#dependencies)) part.push({ record, how: how.value });
        else tally.foundAltered(record.serial);
      }
      if (part.length > 0) yield part;
    }
  }

  #covers(rights: OperatorRights, record: CertificateRecord): boolean {
    return coversRecord(rights, this.#dependencies.access, { verb: 'certificate.revoke', record });
  }

  /** One record of the whole act, beside that of each certificate. */
  async #record(
    { actor, selection, stated, blocks }: Checked,
    {
      actId,
      tally,
      isComplete,
    }: {
      readonly actId: string;
      readonly tally: SelectionTally;
      readonly isComplete: boolean;
    },
  ): Promise<void> {
    const { skipped, sample: _sample, holders: _holders, ...counts } = tally.outcome();
    const unresolved = skipped.get('altered')?.count ?? 0;
    await this.#dependencies.audit.append([
      {
        timeMs: this.#dependencies.clock.nowMs(),
        actor,
        kind: 'certificates.revoked',
        subject: actId,
        detail: {
          selection: selectionTexts(selection),
          reason: stated,
          blockKeys: blocks,
          complete: isComplete,
          ...counts,
          ...(unresolved === 0 ? {} : { unresolved }),
        },
      },
    ]);
  }
}

function previewed({ blocks }: Checked, tally: SelectionTally): SelectionOutcome {
  const outcome = tally.outcome();
  return { ...outcome, keysBlocked: blocks ? outcome.keys : 0 };
}

const interrupted = ({ revoked }: SelectionTally): PkiError =>
  new PkiError('CANCELLED', `interrupted after ${revoked} certificates were revoked`, {
    next: 'Run the same command again: it does the rest.',
  });

const afterRevoking = ({ revoked }: SelectionTally, error: PkiError): PkiError =>
  error.code === 'AUDIT_INVALID'
    ? new PkiError(
        error.code,
        `${revoked} certificates were revoked. Others may be missing: ${error.message}`,
        { cause: error, next: error.next },
      )
    : error;
