import type { CertificateStore, MetaStore } from '../../store/ports/index.ts';
import type { OcspStanding } from '../../issuance/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import type { Status, StatusView } from '../services.ts';
import { refusing } from '../callers/refusal-log.ts';
import type { InspectionDependencies } from './inspection-dependencies.ts';

/** Facts that the process knows of itself. The composition provides them. */
export interface ServerFacts {
  startedAt(): number;
  readiness(): { readonly ready: boolean; readonly reasons: readonly string[] };
  hsmStatus(): string;
  serverCertificateNotAfter(): number;
  /** DER of the root that the server's certificate chains to; undefined while it has none. */
  serverRootDer(): Buffer | undefined;
  /** Whether somebody has shown that the database is the one of the last run. */
  sinceStart(): {
    readonly recordsAtStart: number;
    readonly proof: { readonly by: string; readonly records: number } | undefined;
  };
  /** How the OCSP answers stand; undefined: there is no responder. */
  ocsp(): OcspStanding | undefined;
}

export interface StatusDependencies extends InspectionDependencies {
  readonly facts: ServerFacts;
  readonly meta: Pick<MetaStore, 'position'>;
  readonly certificates: Pick<CertificateStore, 'countByState' | 'countLive'>;
  readonly sessions: { connectedCount(): number };
}

/** How the server is, and what it counts. */
export class StatusService implements Status {
  readonly #dependencies: StatusDependencies;

  constructor(dependencies: StatusDependencies) {
    this.#dependencies = dependencies;
  }

  get(caller: OperatorCaller): Promise<StatusView> {
    return refusing(this.#dependencies.refusals, { caller, operation: 'GetStatus' }, async () => {
      (await this.#dependencies.access.of(caller)).require('server.read', { kind: 'none' });
      const { facts, settings } = this.#dependencies;
      const { certificates, clock, meta } = this.#dependencies;
      // intents that are under way, or that were found after a crash and are possibly live
      const [position, counts, abandoned] = await Promise.all([
        meta.position(),
        certificates.countByState(),
        certificates.countLive({ state: 'abandoned' }, clock.now()),
      ]);
      const { recordsAtStart, proof } = facts.sinceStart();
      return {
        recordsAtStart,
        recordsProven: proof?.records ?? 0,
        provenBy: proof?.by ?? '',
        ocsp: facts.ocsp(),
        version: settings.serverVersion,
        trustDomainName: settings.trustDomain.name,
        startedAt: facts.startedAt(),
        ...facts.readiness(),
        hsmStatus: facts.hsmStatus(),
        agentsConnected: this.#dependencies.sessions.connectedCount(),
        position,
        unfinishedIntents: counts.intent + abandoned,
        serverCertificateNotAfter: facts.serverCertificateNotAfter(),
      };
    });
  }
}
