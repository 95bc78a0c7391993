import { setImmediate } from 'node:timers/promises';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { Clock, Random } from '../../common/runtime/index.ts';
import {
  buildOcspTbs,
  lintOcsp,
  ocspForm,
  ocspHashes,
  type OcspAnswer,
  type OcspHash,
} from '../../certs/index.ts';
import type { OcspLeaf, OcspRecord } from '../../domain/index.ts';
import type { Signers, SignItem } from '../../hsm/signing-port.ts';
import type { OcspSigner } from './signers.ts';

export interface SignAnswersDependencies {
  readonly signers: Pick<Signers, 'sign'>;
  readonly clock: Clock;
  readonly random: Random;
  /** Life of an answer. */
  readonly lifeSeconds: number;
  /** Allowed clock difference: the thisUpdate of an answer lies this far in the past. */
  readonly clockSkewSeconds: number;
}

/** Answers that are made and linted in one turn of the loop: some milliseconds. */
const answersATurn = 16;

/** A leaf, and what the log says of its revocation. */
export interface LeafStanding {
  readonly leaf: OcspLeaf;
  readonly revoked: OcspRecord['revoked'];
}

export interface AnswerBatch {
  readonly standings: readonly LeafStanding[];
  /** Nobody waits for these answers: see `SignItem.background`. */
  readonly background: boolean;
}

/** The content of the signed bytes of an answer. */
export const contentOf = (
  record: Pick<OcspRecord, 'serial' | 'revoked' | 'producedAt' | 'thisUpdate' | 'nextUpdate'>,
): OcspAnswer => ({
  serialHex: record.serial,
  revoked:
    record.revoked === undefined
      ? undefined
      : { at: record.revoked.revokedAt, reason: record.revoked.reason },
  producedAt: record.producedAt,
  thisUpdate: record.thisUpdate,
  nextUpdate: record.nextUpdate,
});

/**
 * Signs the answers about leaves of one authority, each in the form of every hash. Nothing reaches
 * beyond the lives of signer and issuer.
 *
 * @throws PkiError ISSUER_ENDED, LINT_FAILED, or what the token answered to the first that failed
 */
export async function signAnswers(
  signer: OcspSigner,
  { standings, background }: AnswerBatch,
  dependencies: SignAnswersDependencies,
): Promise<readonly OcspRecord[]> {
  const { clock, signers } = dependencies;
  const drafts = draftAnswers(signer, standings, dependencies, clock.now());
  const items: SignItem[] = [];
  for (const [position, draft] of drafts.entries()) {
    if (position > 0 && position % answersATurn === 0) await setImmediate();
    for (const hash of ocspHashes) {
      const item = itemOf(signer, draft, hash);
      items.push(background ? { ...item, background } : item);
    }
  }
  const outcomes = await signers.sign(items);
  return drafts.map((draft, position) => {
    const signature = (hash: OcspHash): Buffer => {
      const outcome = outcomes[position * ocspHashes.length + ocspHashes.indexOf(hash)];
      if (outcome?.ok === true) return outcome.signature;
      throw new PkiError(
        outcome?.code ?? 'HSM_UNAVAILABLE',
        outcome?.message ?? 'the signer gave no answer',
      );
    };
    return { ...draft, signatures: { sha1: signature('sha1'), sha256: signature('sha256') } };
  });
}

function itemOf(
  { responder, ckaId }: OcspSigner,
  draft: Parameters<typeof contentOf>[0],
  hash: OcspHash,
): SignItem {
  const content = contentOf(draft);
  const bytes = buildOcspTbs(responder, content, hash);
  unwrap(lintOcsp(bytes, responder, content, hash));
  return { ckaId, bytes, format: 'x509' };
}

function draftAnswers(
  { sequence, responder: { issuer, signer } }: OcspSigner,
  standings: readonly LeafStanding[],
  { random, lifeSeconds, clockSkewSeconds }: SignAnswersDependencies,
  now: number,
): readonly Omit<OcspRecord, 'signatures'>[] {
  const nextUpdate = Math.min(now + lifeSeconds, signer.notAfter, issuer.notAfter);
  if (nextUpdate <= now)
    throw new PkiError('ISSUER_ENDED', 'the signer of OCSP answers, or its issuer, has ended');
  // What is signed together is due together, so that it lies together in the database. When, differs
  // from batch to batch: otherwise all that was signed after an outage would be due at once.
  const dueAt = now + Math.floor((nextUpdate - now) * (0.4 + 0.1 * random.uniform()));
  return standings.map(({ leaf: { serial, notAfter }, revoked }) => ({
    serial,
    signer: sequence,
    form: ocspForm,
    revoked:
      revoked === undefined
        ? undefined
        : { ...revoked, revokedAt: Math.min(revoked.revokedAt, now) },
    producedAt: now,
    thisUpdate: Math.max(now - clockSkewSeconds, issuer.notBefore),
    nextUpdate,
    dueAt,
    notAfter,
  }));
}
