import type { Clock, Logger, Random } from '../common/runtime/index.ts';
import { TrustDomain } from '../common/spiffe/index.ts';
import type { ServerConfig } from '../config/index.ts';
import type { Boot } from '../issuance/index.ts';
import type { Ledger } from '../ledger/index.ts';
import { Readiness, ServerMetrics } from '../server/index.ts';

/** What the process edge passes to a server. */
export interface ServerDependencies {
  readonly config: ServerConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  readonly uid: number;
  /** Path of the Node binary, for signer processes. */
  readonly execPath: string;
  readonly clock: Clock;
  /** Of this machine: what the wall clock is compared with. */
  readonly boot: Boot;
  readonly random: Random;
  readonly logger: Logger;
  /**
   * The number of records of the newer checkpoint, if the operator accepts that the database is
   * older.
   */
  readonly acceptRestore?: number;
  /** Set by fault drills and the benchmark only. */
  readonly faults?: Partial<Faults>;
}

/** The hooks of fault drills and of the benchmark. */
export interface Faults {
  /** Called after each step of an issuance, and of the making of an authority. */
  readonly step: (name: string) => void;
  /** `OFF`: commits are not synced to the disk. */
  readonly synchronous: 'OFF' | undefined;
  /** Called after each commit. */
  readonly onDurable: (() => void) | undefined;
  /** Called with the store when it is open, so that a drill can write a long log. */
  readonly onStore: ((store: Ledger) => void) | undefined;
  /** To measure the cost of the audit log: records get no seal and no tree. */
  readonly withoutLog: boolean;
}

/** What every stage of the composition uses. */
export interface ServerContext extends Omit<ServerDependencies, 'faults'> {
  readonly trustDomain: TrustDomain;
  readonly faults: Faults;
  readonly readiness: Readiness;
  readonly metrics: ServerMetrics;
}

export function serverContext({ faults, ...dependencies }: ServerDependencies): ServerContext {
  return {
    ...dependencies,
    trustDomain: TrustDomain.of(dependencies.config.trustDomain),
    faults: {
      step: () => {},
      synchronous: undefined,
      onDurable: undefined,
      onStore: undefined,
      withoutLog: false,
      ...faults,
    },
    readiness: new Readiness(),
    metrics: new ServerMetrics(),
  };
}
