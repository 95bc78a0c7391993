import type { SpiffeId } from '../../src/common/spiffe/index.ts';
import type { KeyType } from '../../src/common/x509/index.ts';
import type { Rollout } from '../ports/file-targets.ts';
import type { ProvenListener } from '../probe/listener.ts';

/**
 * A file target: a directory of certificates for a server that reads files. Everything in it comes
 * from the agent's own configuration. The server can name a target, and nothing more.
 */
export interface FileTarget {
  /** `[a-z0-9-]`, up to 63; unique on this agent. Also the value of its selector. */
  readonly name: string;
  /**
   * Absolute, and there already. Nobody but root and the agent may write in it. The agent makes
   * `sets/` and the symbolic link `current` in it.
   */
  readonly directory: string;
  /** Which identity to take where entries give several. Undefined: the first one. */
  readonly spiffeId: SpiffeId | undefined;
  readonly keyType: KeyType;
  readonly layout: SetLayout;
  readonly permissions: SetPermissions;
  readonly driver: DriverChoice;
  /** Empty: nothing proves a delivery, and the answer of the driver decides. */
  readonly listeners: readonly ProvenListener[];
  readonly proof: ProofRules;
  /** Undefined: each delivery goes on by itself. */
  readonly rollout: Rollout | undefined;
  /** false: a set is staged and waits for `meshca set promote`. */
  readonly promote: 'automatic' | 'by hand';
  /** How long the set before stays on disk after the next one is proven (seconds). */
  readonly graceSeconds: number;
}

/** The names of the files in a set. A file that is undefined is not written. */
export interface SetLayout {
  /**
   * Whether the directory of the target has a symbolic link of each name into `current`, for servers
   * that read fixed paths.
   */
  readonly links: boolean;
  /** The leaf alone, PEM. */
  readonly cert: string | undefined;
  /** The issuers of the leaf without the root, PEM. */
  readonly chain: string | undefined;
  /** The leaf and its issuers, PEM. */
  readonly fullchain: string | undefined;
  /** PKCS#8, PEM. */
  readonly key: string | undefined;
  /** Key, leaf and issuers in one file without blank lines, PEM. */
  readonly combined: string | undefined;
  /** The roots of the trust bundle, PEM. */
  readonly ca: string | undefined;
  /** The CRLs of the trust domain, PEM. Written only where there are any. */
  readonly crl: string | undefined;
  /** The roots of foreign trust domains, PEM: a file for each, by the name of the trust domain. */
  readonly federated: Readonly<Record<string, string>>;
  readonly pkcs12: KeyStoreFile | undefined;
  /** Made by `keytool`. */
  readonly jks: KeyStoreFile | undefined;
}

export interface KeyStoreFile {
  readonly name: string;
  /** A file that holds the password, on one line. */
  readonly passwordFile: string;
  readonly alias: string;
}

/** Who may read a set. Directories belong to the user of the agent, so that nobody else renames in them. */
export interface SetPermissions {
  /** Of the files. Undefined: the user of the agent. */
  readonly uid: number | undefined;
  /** Of the files, of `sets/` and of what is in it. Undefined: the group of the agent. */
  readonly gid: number | undefined;
  /** Of certificates. */
  readonly mode: number;
  /** Of files with the private key. */
  readonly keyMode: number;
  /** Of `sets/` and the directory of a set. */
  readonly directoryMode: number;
}

export interface DriverChoice {
  /** A registered type, such as `nginx`. */
  readonly type: string;
  /** Validated by the schema of the type. */
  readonly settings: unknown;
  readonly timeoutSeconds: number;
}

export interface ProofRules {
  /** Handshakes in a row that must show the new serial, at each listener. */
  readonly handshakes: number;
  /** How long the new serial may take to be shown before the set goes back (seconds). */
  readonly timeoutSeconds: number;
}
