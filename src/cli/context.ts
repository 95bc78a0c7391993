import type { Result } from '../common/errors/index.ts';
import type { MachineCheck } from '../common/runtime/machine-checks.ts';

/** What the process edge passes to the commands, which do not read the process themselves. */
export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly readStdin: () => Promise<string>;
  /** Asks a person at the terminal. Undefined if there is no terminal; this is no consent. */
  readonly ask: (question: string) => Promise<boolean | undefined>;
  /** Whether standard output is a terminal, and its width. */
  readonly terminal: {
    readonly isTerminal: boolean;
    readonly columns: number;
    readonly color: boolean;
  };
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly now: () => number;
  readonly dependencies: CliDependencies;
}

/** Parts above the CLI's floor, loaded only when their command runs. */
export interface CliDependencies {
  readonly runServer: (options: {
    readonly configPath: string | undefined;
    readonly acceptRestore?: number;
  }) => Promise<number>;
  /** Replaces the database of a stopped server by a backup. */
  readonly restore: (options: {
    readonly configPath: string | undefined;
    readonly from: string;
  }) => Promise<{ readonly path: string; readonly replaced: string | undefined }>;
  /** The records that the replaced database has and the present one lacks. */
  readonly restoreShow: (options: { readonly configPath: string | undefined }) => Promise<{
    readonly stale: boolean;
    readonly size: number;
    readonly expected: number;
    readonly proven: boolean;
    readonly lost: readonly {
      readonly sequence: number;
      readonly timeMs: number;
      readonly actor: string;
      readonly kind: string;
      readonly subject: string;
    }[];
  }>;
  readonly runAgent: (options: { readonly configPath: string | undefined }) => Promise<number>;
  /** Reads a configuration and returns it with derived values. Starts nothing. */
  readonly validate: (kind: 'server' | 'agent', path: string) => Promise<Result<ValidatedConfig>>;
  /**
   * Checks whether the process could start on this machine. Changes nothing. Tries each PIN once.
   */
  readonly checkMachine: (
    kind: 'server' | 'agent',
    path: string,
  ) => Promise<Result<readonly MachineCheck[]>>;
  readonly runCeremony: (options: {
    readonly planPath: string;
    readonly dryRun: boolean;
    readonly yes: boolean;
    readonly show: (facts: Readonly<Record<string, unknown>>) => void;
  }) => Promise<{
    readonly kind: string;
    readonly facts: Readonly<Record<string, unknown>>;
    readonly files?: { readonly out: string; readonly transcript: string };
    readonly sha256?: string;
    readonly signer?: string;
  }>;
  readonly checkTranscript: (input: {
    readonly path: string;
    readonly signerPath?: string;
    readonly filePaths: readonly string[];
  }) => Promise<{
    readonly records: readonly Readonly<Record<string, unknown>>[];
    readonly signer: string;
    readonly signerKnown: boolean;
    readonly files: readonly string[];
  }>;
  readonly jsonSchema: (kind: 'server' | 'agent') => Promise<object>;
}

export interface ValidatedConfig {
  readonly summary: readonly (readonly [name: string, value: string])[];
}

export const defaultAdminSocket = '/var/lib/meshca/server/admin.sock';
export const defaultWorkloadSocket = '/run/meshca/agent/workload.sock';
export const defaultLocalSocket = '/run/meshca/agent/local.sock';
