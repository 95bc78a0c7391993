import type { Clock } from '../../common/runtime/index.ts';
import type { LedgerBlockedKeys, LedgerRevocations } from '../../ledger/index.ts';
import type { CertificateStore } from '../../store/ports/index.ts';
import type { SyncMessage } from '../services.ts';

export interface ReplacementDependencies {
  readonly certificates: Pick<CertificateStore, 'unreplacedOf'>;
  readonly revocations: Pick<LedgerRevocations, 'revoked'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
  readonly clock: Clock;
  readonly taintWindowSeconds: number;
}

/** So many certificates a second may be issued anew by a pull. */
const replacedPerSecond = 100;
/** Agents that come back have been away for as long as it took: they need not hurry. */
const shortestWindowSeconds = 5;
/** Acts within this time share a window. */
const actMs = 60_000;

type Replacements = Extract<SyncMessage, { kind: 'replace' }>;

/**
 * What agents are told to replace: those of their certificates that were revoked or whose key is
 * blocked, by the log. Owner of the window over which they do so.
 */
export class ReplacementSource {
  readonly #dependencies: ReplacementDependencies;
  #told = 0;
  #sinceMs = Number.NEGATIVE_INFINITY;

  constructor(dependencies: ReplacementDependencies) {
    this.#dependencies = dependencies;
  }

  /** So many certificates are to be replaced by an act. */
  pulled(certificates: number): void {
    const now = this.#dependencies.clock.monotonicMs();
    if (now - this.#sinceMs > actMs) this.#told = 0;
    this.#sinceMs = now;
    this.#told += certificates;
  }

  async of(holder: string): Promise<Replacements> {
    const { certificates, revocations, blockedKeys, clock } = this.#dependencies;
    const held = await certificates.unreplacedOf(holder, clock.now());
    return {
      kind: 'replace',
      serials: held
        .filter(
          ({ serial, publicKeySha256 }) =>
            revocations.revoked(serial) || blockedKeys.get(publicKeySha256) !== undefined,
        )
        .map(({ serial }) => serial)
        .sort(),
      windowSeconds: this.#windowSeconds(),
    };
  }

  #windowSeconds(): number {
    return Math.min(
      this.#dependencies.taintWindowSeconds,
      Math.max(shortestWindowSeconds, Math.ceil(this.#told / replacedPerSecond)),
    );
  }
}
