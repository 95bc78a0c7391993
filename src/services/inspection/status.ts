import type { Position } from '../../domain/index.ts';
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
}

export interface Status {
  get(caller: OperatorCaller): Promise<StatusView>;
}
