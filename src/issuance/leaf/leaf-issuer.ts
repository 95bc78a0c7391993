import { codes, ok, PkiError, type Result, type StatusName } from '../../common/errors/index.ts';
import { uuidv7, type Clock } from '../../common/runtime/index.ts';
import {
  isNamesAuthority,
  subjectText,
  type AuditEvent,
  type CertificateRecord,
  type Intent,
} from '../../domain/index.ts';
import type { Signers } from '../../hsm/signing-port.ts';
import type { AuditStore, IssuanceStore } from '../../store/ports/index.ts';
import { Batcher, commitLimit } from '../group-commit.ts';
import { refusedEvent } from '../certificate-events.ts';
import type { Authorities } from '../authorities.ts';
import type {
  IssuedJwt,
  IssuedLeaf,
  Issuer,
  JwtRequest,
  LeafRequest,
  LeafResult,
} from '../issuer.ts';
import { admit, type IssuancePolicy } from '../policy.ts';
import type { CertificateOutcome } from '../endings.ts';
import type { PreparedCertificate, RecordedIssuance, RecordedStep } from '../recorded.ts';
import {
  draftLeaf,
  readCsr,
  type IssuerView,
  type PrepareOptions,
  type ReadRequest,
} from './prepare.ts';
import { repeatedCertificate } from './repeated.ts';
import { UnderWay } from './under-way.ts';

export interface PipelineDependencies {
  readonly store: Pick<IssuanceStore, 'findRequests'>;
  readonly recorded: RecordedIssuance;
  readonly issuancePolicy: IssuancePolicy;
  readonly audit: Pick<AuditStore, 'append'>;
  readonly signers: Pick<Signers, 'sign'>;
  readonly authorities: Pick<Authorities, 'chainDer'> & {
    issuerFor(request: LeafRequest): IssuerView | undefined;
  };
  readonly jwt: { issue(request: JwtRequest): Promise<IssuedJwt> };
  readonly clock: Clock;
  readonly options: PrepareOptions;
  readonly observe: IssuanceObserver;
  /** Called between the steps, in order, for the fault drill. */
  readonly step?: (name: RecordedStep) => void;
}

/** What the metrics record of issuance. */
export interface IssuanceObserver {
  /** `tenant`: whose names it has; undefined: nobody's. */
  issued(kind: string, seconds: number, tenant: string | undefined): void;
  refused(code: string): void;
  /**
   * The outcome of a request to an issuing authority. `failed`: for a reason that is not the
   * caller's.
   */
  outcome?(authorityId: string, outcome: 'signed' | 'failed'): void;
}

/** Any authority refuses a request with one of these: the fault is the caller's. */
const faultsOfCaller: ReadonlySet<StatusName> = new Set([
  'INVALID_ARGUMENT',
  'PERMISSION_DENIED',
  'UNAUTHENTICATED',
  'RESOURCE_EXHAUSTED',
  'CANCELLED',
]);

const noIssuer = (kind: LeafRequest['kind']): PkiError =>
  kind === 'endpoint'
    ? new PkiError('NO_ISSUER', 'no authority of names signs here', {
        next:
          'Set names.enabled and start the server again; if it is set, its log says why the ' +
          'authorities of names are missing (meshca authority list --kind names-issuing).',
      })
    : new PkiError('NO_ISSUER', 'no issuing authority is active for this request');

const isCancelled = (answer: LeafResult): boolean =>
  !answer.ok && answer.error.code === 'CANCELLED';

/** A request without an obstacle so far, and its place in the batch. */
interface Fresh extends ReadRequest {
  readonly index: number;
  readonly key: string;
}

interface Ready extends Fresh {
  readonly now: number;
  readonly prepared: PreparedCertificate;
}

/** The facts that both the intent and the audit record of a leaf state. */
type LeafFacts = Pick<
  Intent,
  'requestId' | 'spiffeId' | 'serial' | 'notBefore' | 'notAfter' | 'authorityId' | 'publicKeySha256'
>;

interface Refusal {
  readonly index: number;
  readonly request: LeafRequest;
  readonly error: PkiError;
}

/** The answers of one batch by place, and the refusals that still have to be recorded. */
interface Batch {
  readonly answers: (LeafResult | Promise<LeafResult> | undefined)[];
  readonly refusals: Refusal[];
}

/** Builds the issuer of leaves and JWT-SVIDs. */
export function createIssuer(dependencies: PipelineDependencies): Issuer {
  const leaves = new LeafIssuer(dependencies);
  return {
    issue: (requests) => leaves.issue(requests),
    issueJwt: (request) => dependencies.jwt.issue(request),
  };
}

/** Issues leaves through the recorded issuance. Owner of the requests under way and their tenants. */
class LeafIssuer {
  readonly #dependencies: PipelineDependencies;
  readonly #refusals: Batcher<AuditEvent, undefined>;
  readonly #underWay = new UnderWay();
  readonly #tenants = new WeakMap<LeafRequest, string>();

  constructor(dependencies: PipelineDependencies) {
    this.#dependencies = dependencies;
    this.#refusals = new Batcher(async (batch) => {
      await dependencies.audit.append(batch);
      return batch.map(() => undefined);
    }, commitLimit);
  }

  async issue(requests: readonly LeafRequest[]): Promise<readonly LeafResult[]> {
    const { clock, observe, authorities } = this.#dependencies;
    const startedMs = clock.monotonicMs();
    const answers = await this.#answers(requests);
    const results = answers.some(isCancelled)
      ? await Promise.all(
          answers.map((answer, index) => this.#orAgain(answer, requests[index] as LeafRequest)),
        )
      : answers;
    for (const [index, result] of results.entries()) {
      const request = requests[index] as LeafRequest;
      if (result.ok) {
        const seconds = (clock.monotonicMs() - startedMs) / 1000;
        observe.issued(request.kind, seconds, this.#tenants.get(request));
        observe.outcome?.(result.leaf.authorityId, 'signed');
        continue;
      }
      observe.refused(result.error.code);
      if (!faultsOfCaller.has(codes[result.error.code].status))
        observe.outcome?.(authorities.issuerFor(request)?.authority.id ?? '', 'failed');
    }
    return results;
  }

  /**
   * Asks again if the shared answer was cancelled by another caller that went away, and this caller
   * still waits.
   */
  async #orAgain(answer: LeafResult, request: LeafRequest): Promise<LeafResult> {
    if (!isCancelled(answer) || request.signal?.aborted === true) return answer;
    const [again] = await this.#answers([request]);
    return this.#orAgain(again as LeafResult, request);
  }

  async #answers(requests: readonly LeafRequest[]): Promise<readonly LeafResult[]> {
    const batch: Batch = { answers: new Array(requests.length), refusals: [] };
    const fresh = this.#take(requests, batch);
    try {
      const unanswered = fresh.every(({ request }) => request.isNew === true)
        ? fresh
        : await this.#answerRepeated(fresh, batch);
      const ready = this.#prepare(this.#wanted(unanswered, batch), batch);
      const refusing = batch.refusals.length === 0 ? undefined : this.#refuse(batch);
      await Promise.all([ready.length === 0 ? undefined : this.#sign(ready, batch), refusing]);
    } catch (thrown) {
      this.#fail(PkiError.from(thrown), batch);
    }
    for (const { index, key } of fresh)
      this.#underWay.answer(key, batch.answers[index] as LeafResult);
    const answers = batch.answers as (LeafResult | Promise<LeafResult>)[];
    // only the answer to a request that was already under way is a promise
    const hasAll = answers.every((answer) => !(answer instanceof Promise));
    // oxlint-disable-next-line typescript/await-thenable -- values and promises are mixed on purpose
    return hasAll ? (answers as LeafResult[]) : Promise.all(answers);
  }

  /** Reads the CSRs. A request that is already under way gets the same answer. */
  #take(requests: readonly LeafRequest[], { answers, refusals }: Batch): readonly Fresh[] {
    const fresh: Fresh[] = [];
    for (const [index, request] of requests.entries()) {
      const read = this.#read(request);
      if (!read.ok) {
        refusals.push({ index, request, error: read.error });
        continue;
      }
      const key = UnderWay.keyOf(read.value);
      const running = this.#underWay.join(key, request.signal);
      if (running === undefined) fresh.push({ index, key, ...read.value });
      else answers[index] = running;
    }
    return fresh;
  }

  /** Reads the CSR and asks the policy, also where the answer will be a recorded one. */
  #read(request: LeafRequest): Result<ReadRequest> {
    const { issuancePolicy, options } = this.#dependencies;
    const read = readCsr(request, options);
    if (!read.ok) return read;
    const { caller, kind, subject, profile, ttlSeconds, entryId, delegationId } = request;
    const { claim, places, eabKey, token } = request;
    const { keyType } = read.value.csr;
    const granted = { entryId, delegationId, claim, places, eabKey, token };
    const admitted = admit(
      issuancePolicy,
      { type: 'x509', kind, subject, profile, keyType, ttlSeconds, ...granted },
      caller,
    );
    if (!admitted.ok) return admitted;
    const { tenant } = admitted.value;
    if (tenant !== undefined) this.#tenants.set(request, tenant);
    return ok({ ...read.value, admission: admitted.value });
  }

  /** Answers repeated requests from the record; returns the others. */
  async #answerRepeated(fresh: readonly Fresh[], { answers }: Batch): Promise<readonly Fresh[]> {
    const recorded = await this.#dependencies.store.findRequests(
      fresh.map(({ request: { caller, requestId }, publicKeySha256 }) => ({
        requester: caller.name,
        requestId,
        publicKeySha256,
      })),
    );
    return fresh.filter((item, position) => {
      const record = recorded[position];
      const answer = record === undefined ? undefined : this.#repeated(record, item);
      if (answer === undefined) return true;
      answers[item.index] = answer;
      return false;
    });
  }

  /** Removes the requests that no caller waits for any more. */
  #wanted(fresh: readonly Fresh[], { answers }: Batch): readonly Fresh[] {
    return fresh.filter(({ key, index }) => {
      const isWanted = this.#underWay.isWanted(key);
      if (!isWanted)
        answers[index] = {
          ok: false,
          error: new PkiError('CANCELLED', 'the client has gone'),
          refusalId: uuidv7(this.#dependencies.clock.nowMs()),
        };
      return isWanted;
    });
  }

  #prepare(fresh: readonly Fresh[], { refusals }: Batch): readonly Ready[] {
    const { authorities, recorded, clock, options } = this.#dependencies;
    const ready: Ready[] = [];
    for (const item of fresh) {
      const { index, request } = item;
      const issuer = authorities.issuerFor(request);
      if (issuer === undefined) {
        const error = noIssuer(request.kind);
        refusals.push({ index, request, error });
        continue;
      }
      // a mesh peer trusts the authorities of the mesh, and would take the name for an identity
      if ((request.kind === 'endpoint') !== isNamesAuthority(issuer.authority.kind)) {
        refusals.push({ index, request, error: noIssuer(request.kind) });
        continue;
      }
      const now = clock.now();
      const draft = draftLeaf(item, issuer, now, options);
      const prepared = draft.ok ? recorded.prepare(draft.value) : draft;
      if (prepared.ok) {
        ready.push({ ...item, now, prepared: prepared.value });
        continue;
      }
      if (draft.ok) this.#giveBack({ authorityId: issuer.authority.id, shard: draft.value.shard });
      refusals.push({ index, request, error: prepared.error });
    }
    return ready;
  }

  async #sign(ready: readonly Ready[], { answers }: Batch): Promise<void> {
    const { recorded, signers, step } = this.#dependencies;
    const outcomes = await recorded
      .run(
        ready.map(({ prepared }) => prepared),
        {
          sign: (items) => signers.sign(items),
          wanted: () => ready.some(({ key }) => this.#underWay.isWanted(key)),
          ...(step === undefined ? {} : { step }),
        },
      )
      .catch((thrown: unknown) => {
        // nothing was signed: refused requests must not fill shards
        if (PkiError.from(thrown).code === 'CANCELLED')
          for (const { prepared } of ready) this.#giveBack(prepared.intent);
        throw thrown;
      });
    for (const [position, item] of ready.entries())
      answers[item.index] = this.#released(item, outcomes[position] as CertificateOutcome);
  }

  #giveBack({ authorityId, shard }: Pick<Intent, 'authorityId' | 'shard'>): void {
    if (shard !== 0) this.#dependencies.options.giveBackShard(authorityId, shard);
  }

  async #refuse({ answers, refusals }: Batch): Promise<void> {
    const { clock } = this.#dependencies;
    const ids = refusals.map(() => uuidv7(clock.nowMs()));
    await this.#refusals.run(
      refusals.map(({ request, error }, position) =>
        refusedEvent(
          { ...request, requester: request.caller.name, subject: subjectText(request.subject) },
          error,
          ids[position] as string,
          clock.nowMs(),
        ),
      ),
    );
    for (const [position, { index, error }] of refusals.entries())
      answers[index] = { ok: false, error, refusalId: ids[position] as string };
  }

  /**
   * The store failed, or all callers went away before the intents were durable: nothing is
   * released. The next start finds recorded intents as unfinished.
   */
  #fail(error: PkiError, { answers }: Batch): void {
    for (let index = 0; index < answers.length; index += 1)
      answers[index] ??= {
        ok: false,
        error,
        refusalId: uuidv7(this.#dependencies.clock.nowMs()),
      };
  }

  #released({ csr, now, prepared: { intent } }: Ready, outcome: CertificateOutcome): LeafResult {
    if (!outcome.ok) {
      if (outcome.isUnsigned === true) this.#giveBack(intent);
      return outcome;
    }
    return { ok: true, leaf: this.#leaf(intent, outcome.certificateDer, now, csr.spkiDer) };
  }

  /**
   * The recorded certificate of a request whose answer was lost. A record of another identity, or
   * of an expired certificate, does not count.
   */
  #repeated(record: CertificateRecord, { request, csr }: Fresh): LeafResult | undefined {
    const now = this.#dependencies.clock.now();
    const [issuerDer] = this.#dependencies.authorities.chainDer(record.authorityId);
    const { spkiDer } = csr;
    const certificateDer = repeatedCertificate(record, { request, spkiDer, issuerDer, now });
    if (certificateDer === undefined) return undefined;
    return { ok: true, leaf: this.#leaf(record, certificateDer, now, spkiDer) };
  }

  #leaf(
    { requestId, spiffeId, serial, notBefore, notAfter, authorityId, publicKeySha256 }: LeafFacts,
    certificateDer: Buffer,
    now: number,
    spkiDer: Buffer,
  ): IssuedLeaf {
    return {
      requestId,
      spiffeId,
      serial,
      chainDer: [certificateDer, ...this.#dependencies.authorities.chainDer(authorityId)],
      notBefore,
      notAfter,
      lifetimeSeconds: notAfter - now,
      serverTime: now,
      authorityId,
      publicKeySha256,
      spkiDer,
    };
  }
}
