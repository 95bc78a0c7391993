import type { Logger } from '../../common/runtime/index.ts';
import { crlReach, type CrlReach, type CrlStanding } from '../../domain/index.ts';

/** Log lines on how CRLs stand. */
export class CrlWarnings {
  readonly #dependencies: { readonly logger: Logger };
  /** The last log line of each CRL, so that each change is logged once. */
  readonly #said = new Map<string, string>();
  #reach: CrlReach = 'all';

  constructor(dependencies: { readonly logger: Logger }) {
    this.#dependencies = dependencies;
  }

  /**
   * Warns, once for each change, that the CRL of another CA ends soon or has ended, and that the
   * set becomes too large for those who get it.
   */
  tell(
    standings: readonly CrlStanding[],
    now: number,
    set: readonly { readonly der: Buffer }[],
  ): void {
    const { logger } = this.#dependencies;
    this.#tellReach(crlReach(set));
    for (const { authorityId, source, state, nextUpdate, unlisted } of standings) {
      const line = `${state} ${nextUpdate} ${unlisted.join()}`;
      if (this.#said.get(authorityId) === line) continue;
      this.#said.set(authorityId, line);
      if (unlisted.length > 0)
        logger.warn(
          { authority: authorityId, unlisted },
          'the CRL of another CA does not list certificates below it that were revoked here; revoke them there as well',
        );
      if (state === 'current' || state === 'missing') continue;
      const next =
        source === 'own'
          ? 'it is signed anew when its key can be used'
          : 'fetch the next one from its authority, then: meshca authority import-crl FILE';
      logger.warn(
        { authority: authorityId, source, endsInSeconds: nextUpdate - now, next, alert: true },
        state === 'expired' ? 'a CRL expired: no CRLs are handed out' : 'a CRL ends soon',
      );
    }
  }

  #tellReach(reach: CrlReach): void {
    if (this.#reach === reach) return;
    this.#reach = reach;
    const { logger } = this.#dependencies;
    if (reach === 'all') logger.info({ reach }, 'the CRLs are small enough for all who get them');
    else
      logger.warn(
        { reach, next: crlReachAdvice, alert: true },
        reach === 'http'
          ? 'the CRLs are too large for agents: they are handed out over HTTP alone, and ' +
              'consumers that enforce them refuse'
          : 'the CRLs are nearly too large for workloads whose gRPC client takes messages up ' +
              'to 4 MiB, its default: above that these get their certificates without CRLs',
      );
  }
}

const crlReachAdvice =
  'revoke fewer certificates one by one: shorten the lives of the revocable profile, or ' +
  'rotate the issuing authority (meshca authority rotate --kind issuing), whose CRL begins ' +
  'empty';
