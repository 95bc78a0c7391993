import type { Position } from '../../domain/index.ts';
import type { OcspStanding } from '../../issuance/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface StatusView {
  readonly version: string;
  readonly trustDomainName: string;
  readonly startedAt: number;
  readonly ready: boolean;
  readonly reasons: readonly string[];
  readonly hsmStatus: string;
  readonly agentsConnected: number;
  readonly position: Position;
  readonly unfinishedIntents: number;
  readonly serverCertificateNotAfter: number;
  /** Records under checkpoints when the server started; 0: its log began then. */
  readonly recordsAtStart: number;
  /** Those that somebody has shown since, and who; 0 and empty: nobody has. */
  readonly recordsProven: number;
  readonly provenBy: string;
  /** Undefined: no certificate names a responder of this server. */
  readonly ocsp: OcspStanding | undefined;
}

export interface Status {
  get(caller: OperatorCaller): Promise<StatusView>;
}
