import { PkiError } from '../../common/errors/index.ts';
import { errorFields, Rounds } from '../../common/runtime/index.ts';
import { ocspHashes } from '../../certs/index.ts';
import { answersOcsp, hasEnded, isRevocable, type Authority } from '../../domain/index.ts';
import type { IssuedLeafRecord, LedgerRevocations } from '../../ledger/index.ts';
import type { OcspStore } from '../../store/ports/index.ts';
import { OcspAnswerer, type OcspReply } from './answerer.ts';
import { signAnswers, type LeafStanding, type SignAnswersDependencies } from './sign-answers.ts';
import { RenewalPace, type RenewalPaceDependencies } from './renewal-pace.ts';
import { OcspSigners, type OcspSignersDependencies } from './signers.ts';
import { OcspWorklist, type Work } from './worklist.ts';

export interface OcspPublisherDependencies
  extends OcspSignersDependencies,
    SignAnswersDependencies {
  readonly signers: SignAnswersDependencies['signers'] & RenewalPaceDependencies['signers'];
  readonly authorities: { all(): readonly Authority[]; onChange(listener: () => void): () => void };
  readonly answers: OcspStore;
  readonly revocations: Pick<LedgerRevocations, 'revocation' | 'revoked' | 'extent' | 'between'>;
  readonly onRevision: (listener: () => void) => () => void;
  readonly onIssued: (listener: (leaf: IssuedLeafRecord) => void) => () => void;
  /** True while nothing may be signed, because the database is not trusted. */
  readonly held: () => boolean;
  readonly clockBelieved: () => boolean;
}

/** How the answers stand, for operators. */
export interface OcspStanding {
  /** As counted in the last minutes. */
  readonly answers: number;
  /** When the first of them ends, unless it is renewed before; 0: there is none. */
  readonly nextUpdate: number;
  /** Leaves whose answer is to be signed at once. */
  readonly waiting: number;
}

const lookEveryMs = 60_000;
/** Answers about ended leaves that are removed in one commit: some milliseconds. */
const prunedAtOnce = 256;
const lookThroughSeconds = 6 * 3600;
const countEverySeconds = 300;

/**
 * The OCSP answers about the leaves of this CA. All are signed in advance, off the path of any
 * request: when a leaf is issued, when it is revoked, and anew before half of their life is over.
 * Owner of the timer, and of how the answers stand.
 */
export class OcspPublisher {
  readonly #dependencies: OcspPublisherDependencies;
  readonly #signers: OcspSigners;
  readonly #worklist: OcspWorklist;
  readonly #pace: RenewalPace;
  /** Aborted when something changes: renewals do not go on resting. */
  #hurry = new AbortController();
  readonly #answerer: OcspAnswerer;
  #standing: OcspStanding = { answers: 0, nextUpdate: 0, waiting: 0 };
  #lookedThroughAt = 0;
  #countedAt: number | undefined;
  #said = '';
  #signed = 0;
  #stop: (() => void)[] = [];
  readonly #rounds: Rounds;
  #started = false;
  #closed = false;

  constructor(dependencies: OcspPublisherDependencies) {
    this.#dependencies = dependencies;
    const { answers: store, revocations } = dependencies;
    this.#rounds = new Rounds({
      clock: dependencies.clock,
      everyMs: lookEveryMs,
      work: () => this.#work(),
      onError: (thrown) => this.#failed(thrown),
    });
    this.#signers = new OcspSigners(dependencies);
    this.#pace = new RenewalPace(dependencies);
    const signer = (sequence: number) => this.#signers.bySequence(sequence);
    this.#worklist = new OcspWorklist({ store, revocations, signer });
    this.#answerer = new OcspAnswerer({
      ...dependencies,
      store,
      signer,
      answers: answersOcsp,
      isWaiting: (serial) => this.#worklist.isWaiting(serial),
      held: () => !this.#started || dependencies.held(),
    });
  }

  /** Resolves when every answer that can be signed is signed. Failures are logged and retried. */
  async start(): Promise<void> {
    const { authorities, onRevision, onIssued, clock } = this.#dependencies;
    this.#stop = [
      authorities.onChange(() => this.#changed()),
      onRevision(() => this.#changed()),
      onIssued((leaf) => this.#issued(leaf)),
    ];
    this.#lookedThroughAt = clock.now();
    this.#started = true;
    await this.#rounds.run();
  }

  reply(authorityId: string, requestDer: Buffer): Promise<OcspReply> {
    return this.#answerer.reply(authorityId, requestDer);
  }

  standing(): OcspStanding {
    return { ...this.#standing, waiting: this.#worklist.size };
  }

  /** Signed since the start. */
  signed(): number {
    return this.#signed;
  }

  /** When the certificate of the signer of each authority ends. */
  signerEnds(): ReadonlyMap<string, number> {
    return this.#signers.ends();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#hurry.abort();
    for (const stop of this.#stop) stop();
    await this.#rounds.close();
  }

  #issued({ serial, authorityId, notAfter, profile }: IssuedLeafRecord): void {
    const { authorities } = this.#dependencies;
    if (
      !isRevocable(profile) ||
      !authorities.all().some((each) => each.id === authorityId && answersOcsp(each))
    )
      return;
    this.#worklist.issued({ serial, authorityId, notAfter });
    this.#changed();
  }

  #changed(): void {
    this.#hurry.abort();
    this.#rounds.changed();
  }

  #failed(thrown: unknown): true {
    const error = PkiError.from(thrown);
    if (error.code !== 'SHUTTING_DOWN')
      this.#dependencies.logger.error(
        { ...errorFields(error), waiting: this.#worklist.size },
        'OCSP answers could not be signed; trying again',
      );
    return true;
  }

  /** Resolves with true if something failed. */
  async #work(): Promise<boolean> {
    const { held, clock, clockBelieved, answers } = this.#dependencies;
    if (held() || this.#closed) return false;
    if (clock.now() - this.#lookedThroughAt >= lookThroughSeconds) {
      this.#lookedThroughAt = clock.now();
      this.#worklist.lookAgain();
    }
    try {
      let failed = false;
      const ready: Authority[] = [];
      for (const authority of this.#answering())
        try {
          await this.#signers.signerOf(authority);
          ready.push(authority);
        } catch (thrown) {
          failed = this.#failed(thrown);
        }
      await this.#signers.retire(this.#answering());
      while (!this.#closed && !held()) {
        // of what changes from here on
        const hurry = (this.#hurry = new AbortController());
        const now = clock.now();
        const validFrom = clockBelieved() ? now : 0;
        const restMs = this.#pace.restMs();
        const work = await this.#worklist.next(
          { ready, complete: !failed, renewals: restMs === 0 },
          { now, validFrom },
        );
        if (work !== undefined) await this.#sign(work);
        else if (restMs > 0) await clock.sleep(restMs, hurry).catch(() => {});
        else if ((await answers.prune(validFrom, prunedAtOnce)) < prunedAtOnce) break;
      }
      return failed;
    } finally {
      await this.#look();
    }
  }

  #answering(): readonly Authority[] {
    const { authorities, clock } = this.#dependencies;
    const now = clock.now();
    return authorities.all().filter((each) => answersOcsp(each) && !hasEnded(each, now));
  }

  async #sign({ authority, leaves, due }: Work): Promise<void> {
    const { answers, revocations } = this.#dependencies;
    const over = this.#pace.begin();
    const signer = await this.#signers.signerOf(authority);
    const standings = leaves.map((leaf) => ({
      leaf,
      revoked: revokedOf(revocations, leaf.serial),
    }));
    const batch = { standings, background: due !== 'now' };
    const signed = await signAnswers(signer, batch, this.#dependencies).catch(
      async (thrown: unknown) => {
        if (PkiError.from(thrown).code === 'HSM_KEY_NOT_FOUND') await this.#signers.lost(signer);
        throw thrown;
      },
    );
    await answers.put(signed);
    this.#worklist.done(leaves);
    this.#signed += signed.length;
    if (due === 'some time') over(signed.length * ocspHashes.length);
  }

  async #look(): Promise<void> {
    const { answers, clock, lifeSeconds, logger } = this.#dependencies;
    const earliest = await answers.earliest();
    const nextUpdate = earliest?.nextUpdate ?? 0;
    const now = clock.now();
    // the first answers show at once
    const isCurrent = this.#standing.answers > 0 || earliest === undefined;
    const counted =
      isCurrent && this.#countedAt !== undefined && now - this.#countedAt < countEverySeconds;
    if (!counted) this.#countedAt = now;
    const count = counted ? this.#standing.answers : await answers.count();
    this.#standing = { answers: count, nextUpdate, waiting: 0 };
    const left = nextUpdate - now;
    const state =
      earliest === undefined || left > lifeSeconds / 4 ? '' : left > 0 ? 'ending' : 'ended';
    if (state === this.#said) return;
    this.#said = state;
    if (state === '') logger.info({}, 'OCSP answers are renewed again');
    else
      logger.warn(
        {
          nextUpdate,
          endsInSeconds: left,
          next: 'see why the issuing token does not sign: meshca status',
          alert: true,
        },
        state === 'ended'
          ? 'OCSP answers have ended: who asks is told to try later'
          : 'OCSP answers end soon and are not renewed',
      );
  }
}

/** What the log says: it has the last word. */
function revokedOf(
  revocations: Pick<LedgerRevocations, 'revocation'>,
  serial: string,
): { readonly revokedAt: number; readonly reason: RevokedReason } | undefined {
  const revocation = revocations.revocation(serial);
  if (revocation === undefined) return undefined;
  const { revokedAt, reason } = revocation;
  return { revokedAt, reason: reason === 'unspecified' ? undefined : reason };
}
type RevokedReason = NonNullable<LeafStanding['revoked']>['reason'];
