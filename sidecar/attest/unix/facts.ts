import { isOneLine } from '../../../src/common/runtime/one-line.ts';
import type { Selector } from '../../../src/common/spiffe/index.ts';
import type { OverflowIds } from '../overflow-ids.ts';
import { systemdUnit } from '../proc-parse.ts';
import type { Proc } from '../proc.ts';
import type { ProcessEvidence } from '../workload-attestor.ts';
import type { AccountNames } from './account-names.ts';

/** Facts about the program of one image. Each is valid until the next exec. */
export interface BinaryFacts {
  path?: ExecutablePath | undefined;
  /** Verified against the agent's own view of the file system. */
  verifiedPath?: string | undefined;
  sha256?: string | undefined;
  /**
   * Costly selector prefixes that were inspected, with or without success, so that a workload can't
   * make the agent inspect again and again.
   */
  readonly inspected: Set<string>;
  /** When a failed inspection may be retried, monotonic ms. */
  retryAtMs: number;
  /** Why the binary could not be inspected. */
  problem?: string | undefined;
}

export interface ExecutablePath {
  readonly text: string;
  readonly deleted: boolean;
  /**
   * Whether the process is in another mount namespace, where the same path may name another file.
   */
  readonly foreign: boolean;
}

export interface UnixFacts {
  readonly selectors: readonly Selector[];
  /** Whether the path must be checked in the file system before it counts as `unix:path`. */
  readonly pathUnverified: boolean;
}

export interface UnixSources {
  readonly proc: Proc;
  readonly names: AccountNames;
  readonly overflow: OverflowIds;
  /** The agent's own mount namespace, as its link reads. */
  readonly mountNamespace: Buffer | undefined;
  /** systemd rules the cgroup tree of this machine, so that the names in it are its units. */
  readonly systemd: boolean;
}

/**
 * The cheap facts, read anew each time: IDs, groups, cgroup. The path is bound to the image and
 * read once for it.
 *
 * - Supplementary groups must hold at the time of connect and now.
 * - `unix:path` is the path in the agent's own mount namespace. A process in another one (a
 *   container, but also a systemd unit with PrivateTmp) could mount its own file at any path: there
 *   the path counts only if it names the same device and inode for the agent, and is
 *   `unix:foreign_path` otherwise.
 */
export function unixFacts(
  sources: UnixSources,
  { peer, status, cgroup }: ProcessEvidence,
  binary: BinaryFacts,
): UnixFacts {
  const selectors: Selector[] = [];
  const unix = (value: string): void => void selectors.push({ type: 'unix', value });

  unix(`uid:${peer.uid}`);
  const user = sources.names.userName(peer.uid);
  if (user !== undefined) unix(`user:${user}`);
  if (!sources.overflow.isUnknownGid(peer.gid, peer.pid)) {
    unix(`gid:${peer.gid}`);
    const group = sources.names.groupName(peer.gid);
    if (group !== undefined) unix(`group:${group}`);
  }
  const atConnect = peer.groups === undefined ? undefined : new Set(peer.groups);
  for (const gid of new Set(status.groups.slice(0, maximumGroups))) {
    if (atConnect?.has(gid) === false || sources.overflow.isUnknownGid(gid, peer.pid)) continue;
    unix(`supplementary_gid:${gid}`);
    const group = sources.names.groupName(gid);
    if (group !== undefined) unix(`supplementary_group:${group}`);
  }

  binary.path ??= executablePath(sources, peer.pid);
  const { path, verifiedPath, sha256 } = binary;
  const direct = path !== undefined && !path.foreign && !path.deleted;
  if (direct) unix(`path:${path.text}`);
  else if (verifiedPath !== undefined) unix(`path:${verifiedPath}`);
  else if (path?.foreign && !path.deleted) unix(`foreign_path:${path.text}`);
  if (sha256 !== undefined) unix(`sha256:${sha256}`);

  if (cgroup.path !== undefined && isPrintable(cgroup.path)) unix(`cgroup:${cgroup.path}`);
  const unit = sources.systemd && cgroup.path !== undefined ? systemdUnit(cgroup.path) : undefined;
  if (unit !== undefined) selectors.push({ type: 'systemd', value: `id:${unit}` });
  return {
    selectors,
    pathUnverified: path !== undefined && !direct && verifiedPath === undefined,
  };
}

/**
 * A process may have 65,536 groups; matching them all would cost the agent more than the process.
 * Fewer facts never grant more.
 */
const maximumGroups = 1024;

const deletedSuffix = ' (deleted)';

function executablePath(sources: UnixSources, pid: number): ExecutablePath | undefined {
  const bytes = sources.proc.link(pid, 'exe');
  if (bytes === undefined) return undefined;
  const text = bytes.toString('utf8');
  // a path that is no text can not be written in an entry, and its lossy form might read as another
  // path
  if (!text.startsWith('/') || !isPrintable(text) || !Buffer.from(text, 'utf8').equals(bytes))
    return undefined;
  const namespace = sources.proc.link(pid, 'ns/mnt');
  const foreign =
    namespace === undefined ||
    sources.mountNamespace === undefined ||
    !namespace.equals(sources.mountNamespace);
  // the kernel marks a file that was unlinked, for example by an upgrade; a file may also be named
  // so
  return { text, deleted: text.endsWith(deletedSuffix), foreign };
}

/** The path that an unlinked binary had. */
export const withoutDeletedMark = (text: string): string => text.slice(0, -deletedSuffix.length);

const isPrintable = (text: string): boolean => text.length <= 1000 && isOneLine(text);
