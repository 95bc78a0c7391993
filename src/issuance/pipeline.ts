import { codes, PkiError, type StatusName } from '../common/errors/index.ts';
import { uuidv7, type Clock } from '../common/runtime/index.ts';
import { parseCertificate, sha256Hex } from '../common/x509/index.ts';
import { assembleSigned, type ParsedCsr } from '../certs/index.ts';
import type { AuditEvent, CertificateRecord, Intent } from '../domain/index.ts';
import type { Signers, SignItem, SignOutcome } from '../hsm/contract.ts';
import type { AuditStore, FinishItem, FinishOutcome, IssuanceStore } from '../store/ports/index.ts';
import { Batcher } from './batcher.ts';
import type {
  Authorities,
  Issuer,
  IssuedLeaf,
  JwtRequest,
  IssuedJwt,
  LeafRequest,
  LeafResult,
} from './contract.ts';
import { abandonedEvent, issuedEvent, refusedEvent } from './events.ts';
import {
  prepare,
  readCsr,
  type IssuerView,
  type Prepared,
  type PrepareOptions,
} from './prepare.ts';

export interface PipelineDependencies {
  readonly store: Pick<IssuanceStore, 'recordIntents' | 'finish' | 'findRequests'>;
  readonly audit: Pick<AuditStore, 'append'>;
  readonly signers: Pick<Signers, 'sign'>;
  readonly authorities: Pick<Authorities, 'chainDer'> & {
    issuerFor(request: LeafRequest): IssuerView | undefined;
  };
  readonly jwt: { issue(request: JwtRequest): Promise<IssuedJwt> };
  readonly clock: Clock;
  readonly options: PrepareOptions;
  readonly observe: IssuanceObserver;
  /** Called between the steps, in order: for the fault drill. */
  readonly step?: (name: PipelineStep) => void;
}
export type PipelineStep = 'prepared' | 'intents-durable' | 'signed' | 'recorded';

/** What the metrics need to know of issuance. */
export interface IssuanceObserver {
  issued(kind: string, seconds: number): void;
  refused(code: string): void;
  /** What came of what was asked of an issuing authority. `failed`: for no fault of who asked. */
  outcome?(authorityId: string, outcome: 'signed' | 'failed'): void;
}

/** Commits larger than this block the event loop for longer than they save (bench/store). */
const commitLimit = 200;

/** Who asks so would be refused by any authority. */
const ofCaller: ReadonlySet<StatusName> = new Set([
  'INVALID_ARGUMENT',
  'PERMISSION_DENIED',
  'UNAUTHENTICATED',
  'RESOURCE_EXHAUSTED',
]);

interface Finished {
  readonly result: LeafResult;
}

/**
 * Builds the issuer: the only way to a signature on a leaf. Promise 2 of the product lives in
 * `run`.
 */
export function createIssuer(dependencies: PipelineDependencies): Issuer {
  const { store, audit, signers, authorities, clock, observe } = dependencies;
  const step = dependencies.step ?? ((): void => {});
  const intents = new Batcher<Intent, undefined>(async (batch) => {
    await store.recordIntents(batch);
    return batch.map(() => undefined);
  }, commitLimit);
  const finishes = new Batcher<FinishItem, FinishOutcome>(
    (batch) => store.finish(batch),
    commitLimit,
  );
  const refusals = new Batcher<AuditEvent, undefined>(async (batch) => {
    await audit.append(batch);
    return batch.map(() => undefined);
  }, commitLimit);
  /** Requests under way, so that the same one sent twice at once is signed once. */
  const underWay = new Map<string, Promise<LeafResult>>();

  async function issue(requests: readonly LeafRequest[]): Promise<readonly LeafResult[]> {
    const startedMs = clock.monotonicMs();
    const results = await run(requests);
    for (const [index, result] of results.entries()) {
      const request = requests[index] as LeafRequest;
      if (result.ok) observe.issued(request.kind, (clock.monotonicMs() - startedMs) / 1000);
      else observe.refused(result.error.code);
      if (result.ok) observe.outcome?.(result.leaf.authorityId, 'signed');
      else if (!ofCaller.has(codes[result.error.code].status))
        observe.outcome?.(authorities.issuerFor(request)?.authority.id ?? '', 'failed');
    }
    return results;
  }

  async function run(requests: readonly LeafRequest[]): Promise<readonly LeafResult[]> {
    const results = new Array<LeafResult | Promise<LeafResult> | undefined>(requests.length);
    const fresh: {
      readonly index: number;
      readonly csr: ParsedCsr;
      readonly publicKeySha256: string;
      readonly key: string;
    }[] = [];
    const refused: { readonly index: number; readonly error: PkiError }[] = [];
    const settle = registration(underWay);
    for (const [index, request] of requests.entries()) {
      const read = readCsr(request, dependencies.options.isAuthorityKey);
      if (!read.ok) {
        refused.push({ index, error: read.error });
        continue;
      }
      // with what it asks for: two different asks under one ID, sent at once, must not get each
      // other's answer
      const key = [
        request.requester,
        request.requestId,
        read.value.publicKeySha256,
        request.kind,
        request.spiffeId.toString(),
        ...request.dnsNames,
      ].join('\u0000');
      const running = underWay.get(key);
      if (running !== undefined) {
        results[index] = running;
        continue;
      }
      settle.add(key);
      fresh.push({ index, ...read.value, key });
    }
    try {
      const recorded = await store.findRequests(
        fresh.map(({ index, publicKeySha256 }) => {
          const request = requests[index] as LeafRequest;
          return { requester: request.requester, requestId: request.requestId, publicKeySha256 };
        }),
      );
      const prepared: { readonly index: number; readonly item: Prepared }[] = [];
      for (const [position, item] of fresh.entries()) {
        const request = requests[item.index] as LeafRequest;
        const record = recorded[position];
        const answer = record === undefined ? undefined : repeated(record, request, item.csr);
        if (answer !== undefined) {
          results[item.index] = answer;
          continue;
        }
        const issuer = authorities.issuerFor(request);
        const made =
          issuer === undefined
            ? {
                ok: false as const,
                error: new PkiError('NO_ISSUER', 'no issuing authority is active for this request'),
              }
            : prepare(request, item.csr, item.publicKeySha256, issuer, dependencies.options);
        if (made.ok) prepared.push({ index: item.index, item: made.value });
        else refused.push({ index: item.index, error: made.error });
      }
      const [finished, refusalIds] = await Promise.all([
        signAll(prepared.map(({ item }) => item)),
        recordRefusals(
          refused.map(({ index, error }) => ({ request: requests[index] as LeafRequest, error })),
        ),
      ]);
      for (const [position, { index }] of prepared.entries())
        results[index] = (finished[position] as Finished).result;
      for (const [position, { index, error }] of refused.entries())
        results[index] = { ok: false, error, refusalId: refusalIds[position] as string };
      for (const item of fresh) settle.resolve(item.key, results[item.index] as LeafResult);
      // oxlint-disable-next-line typescript/await-thenable -- values and promises are mixed on purpose
      return await Promise.all(results as (LeafResult | Promise<LeafResult>)[]);
    } catch (thrown) {
      // the store did not answer: nothing is released, what was recorded is found as unfinished at
      // the next start
      const error = PkiError.from(thrown);
      for (const item of fresh)
        settle.resolve(item.key, { ok: false, error, refusalId: uuidv7(clock.nowMs()) });
      const refused = () => ({ ok: false as const, error, refusalId: uuidv7(clock.nowMs()) });
      // oxlint-disable-next-line typescript/await-thenable -- values and promises are mixed on purpose
      return await Promise.all(requests.map((_, index) => results[index] ?? refused()));
    }
  }

  /** Intents durable → signed and verified → recorded, in that order, for all that was prepared. */
  async function signAll(prepared: readonly Prepared[]): Promise<readonly Finished[]> {
    if (prepared.length === 0) return [];
    step('prepared');
    await intents.run(prepared.map((item) => item.intent));
    step('intents-durable');
    const outcomes = await signers.sign(prepared.map(toSignItem));
    step('signed');
    const endings = prepared.map((item, index) => ending(item, outcomes[index] as SignOutcome));
    const finished = await finishes.run(endings.map(({ finish }) => finish));
    step('recorded');
    return endings.map((end, index) => ({
      result: release(end, finished[index] as FinishOutcome),
    }));
  }

  function ending(item: Prepared, outcome: SignOutcome): Ending {
    const nowMs = clock.nowMs();
    if (outcome.ok) {
      const certificateDer = assembleSigned(
        item.intent.tbsDer,
        item.issuer.authority.keyType,
        outcome.signature,
      );
      const sha256 = sha256Hex(certificateDer);
      const rights = { ...item.request.rights, authorityId: item.issuer.authority.id };
      return {
        item,
        certificateDer,
        finish: {
          kind: 'signed',
          serial: item.intent.serial,
          certificateDer,
          sha256,
          rights,
          event: issuedEvent(item, sha256, nowMs),
        },
      };
    }
    const error = new PkiError(outcome.code, outcome.message);
    const refusalId = uuidv7(nowMs);
    const finish: FinishItem =
      outcome.kind === 'refused'
        ? {
            kind: 'refused',
            serial: item.intent.serial,
            code: outcome.code,
            event: refusedEvent(item.request, error, refusalId, nowMs, item.intent.serial),
          }
        : {
            kind: 'abandoned',
            serial: item.intent.serial,
            reason: outcome.code,
            event: abandonedEvent(item, outcome.code, nowMs),
          };
    return { item, error, refusalId, finish };
  }

  function release(end: Ending, outcome: FinishOutcome): LeafResult {
    if ('error' in end) return { ok: false, error: end.error, refusalId: end.refusalId };
    if (outcome.state === 'issued') return { ok: true, leaf: leafOf(end.item, end.certificateDer) };
    const error =
      outcome.state === 'withheld'
        ? new PkiError(outcome.code, outcome.message, {
            detail: { serial: end.item.intent.serial, withheld: true },
          })
        : new PkiError('WITHHELD', 'the certificate was not released');
    return { ok: false, error, refusalId: uuidv7(clock.nowMs()) };
  }

  function leafOf(item: Prepared, certificateDer: Buffer): IssuedLeaf {
    const { intent, csr, issuer } = item;
    return {
      requestId: intent.requestId,
      spiffeId: intent.spiffeId,
      serial: intent.serial,
      chainDer: [certificateDer, ...authorities.chainDer(issuer.authority.id)],
      notBefore: intent.notBefore,
      notAfter: intent.notAfter,
      lifetimeSeconds: intent.notAfter - item.now,
      serverTime: item.now,
      authorityId: intent.authorityId,
      publicKeySha256: intent.publicKeySha256,
      spkiDer: csr.spkiDer,
    };
  }

  /**
   * The recorded certificate for a request whose answer was lost; a record of another identity or a
   * dead one does not count.
   */
  function repeated(
    record: CertificateRecord,
    request: LeafRequest,
    csr: ParsedCsr,
  ): LeafResult | undefined {
    if (
      record.state !== 'issued' ||
      record.certificateDer === null ||
      record.spiffeId !== request.spiffeId.toString()
    )
      return undefined;
    const now = clock.now();
    if (record.notAfter <= now || record.kind !== request.kind) return undefined;
    if (!parseCertificate(record.certificateDer).ok) return undefined;
    return {
      ok: true,
      leaf: {
        requestId: record.requestId,
        spiffeId: record.spiffeId,
        serial: record.serial,
        chainDer: [record.certificateDer, ...authorities.chainDer(record.authorityId)],
        notBefore: record.notBefore,
        notAfter: record.notAfter,
        lifetimeSeconds: record.notAfter - now,
        serverTime: now,
        authorityId: record.authorityId,
        publicKeySha256: record.publicKeySha256,
        spkiDer: csr.spkiDer,
      },
    };
  }

  async function recordRefusals(
    refused: readonly { readonly request: LeafRequest; readonly error: PkiError }[],
  ): Promise<readonly string[]> {
    const ids = refused.map(() => uuidv7(clock.nowMs()));
    await refusals.run(
      refused.map(({ request, error }, index) =>
        refusedEvent(request, error, ids[index] as string, clock.nowMs()),
      ),
    );
    return ids;
  }

  return { issue, issueJwt: (request) => dependencies.jwt.issue(request) };
}

type Ending =
  | { readonly item: Prepared; readonly finish: FinishItem; readonly certificateDer: Buffer }
  | {
      readonly item: Prepared;
      readonly finish: FinishItem;
      readonly error: PkiError;
      readonly refusalId: string;
    };

const toSignItem = (item: Prepared): SignItem => ({
  ckaId: item.issuer.authority.ckaId,
  bytes: item.intent.tbsDer,
  format: 'x509',
  proof: item.csr.proof,
});

function registration(underWay: Map<string, Promise<LeafResult>>): {
  add(key: string): void;
  resolve(key: string, result: LeafResult): void;
} {
  const resolvers = new Map<string, (result: LeafResult) => void>();
  return {
    add(key) {
      underWay.set(key, new Promise((resolve) => resolvers.set(key, resolve)));
    },
    resolve(key, result) {
      resolvers.get(key)?.(result);
      underWay.delete(key);
    },
  };
}
