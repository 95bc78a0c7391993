import type { Logger } from '../../common/runtime/index.ts';
import type { CrlStanding } from '../../domain/index.ts';

/** Log lines on how CRLs stand. */
export class CrlWarnings {
  readonly #dependencies: { readonly logger: Logger };
  /** The last log line of each CRL, so that each change is logged once. */
  readonly #said = new Map<string, string>();

  constructor(dependencies: { readonly logger: Logger }) {
    this.#dependencies = dependencies;
  }

  /** Warns, once for each change, that the CRL of another CA ends soon or has ended. */
  tell(standings: readonly CrlStanding[], now: number): void {
    const { logger } = this.#dependencies;
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
}
