import type { Clock } from '../../common/runtime/index.ts';
import { isNamesAuthority } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { LedgerBlockedKeys, LedgerRevocations } from '../../ledger/index.ts';
import type { CertificateStore, UnreplacedCertificate } from '../../store/ports/index.ts';
import type { SyncMessage } from '../services.ts';

export interface ReplacementDependencies {
  readonly certificates: Pick<CertificateStore, 'unreplacedOf'>;
  readonly revocations: Pick<LedgerRevocations, 'revoked'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
  readonly authorities: Pick<Authorities, 'all'>;
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
 * blocked, by the log, and those for names whose authority is tainted. Agents are told of no
 * authority of names, so that they get the serials. Owner of the window over which they do so.
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
    const isEnded = ({ serial, publicKeySha256 }: UnreplacedCertificate): boolean =>
      revocations.revoked(serial) || blockedKeys.get(publicKeySha256) !== undefined;
    const ended = held.filter(isEnded);
    const tainted = this.taintedOfNames();
    const below = held.filter((each) => tainted.has(each.authorityId) && !isEnded(each));
    return {
      kind: 'replace',
      serials: [...ended, ...below].map(({ serial }) => serial).sort(),
      // what was revoked is urgent; nobody need hurry for a taint
      windowSeconds:
        ended.length === 0 && below.length > 0
          ? Math.min(...below.map(({ authorityId }) => tainted.get(authorityId) ?? 0))
          : this.#windowSeconds(),
    };
  }

  /** The tainted authorities of names by ID, with the window (seconds) of each. */
  taintedOfNames(): ReadonlyMap<string, number> {
    const { authorities, taintWindowSeconds } = this.#dependencies;
    return new Map(
      authorities
        .all()
        .filter(({ kind, state }) => state === 'tainted' && isNamesAuthority(kind))
        .map(({ id, taintWindowSeconds: own }) => [id, own ?? taintWindowSeconds]),
    );
  }

  #windowSeconds(): number {
    return Math.min(
      this.#dependencies.taintWindowSeconds,
      Math.max(shortestWindowSeconds, Math.ceil(this.#told / replacedPerSecond)),
    );
  }
}
