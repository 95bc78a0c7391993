import { isOneLine } from '../../src/common/runtime/one-line.ts';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import type { AccountNames } from './account-names.ts';
import type { OverflowIds } from './overflow-ids.ts';
import type { ExecutablePath, Peer } from './peer.ts';
import { parseCgroup, parseStatus, systemdUnit } from './proc-parse.ts';
import type { Proc } from './proc.ts';

export interface UnixFacts {
  readonly selectors: readonly Selector[];
  /** What limits are counted by, beside the uid. */
  readonly cgroupKey: string;
  /** The path needs a look at the file system before it can count as `unix:path`. */
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
 * - uid and gid are those of the peer credentials. All IDs in /proc must equal them: a process with
 *   mixed IDs (setuid, setgid, or a setuid program executed over an open connection) is
 *   PEER_UNVERIFIABLE.
 * - Supplementary groups must hold at the time of connect and now.
 * - `unix:path` is the path in the agent's own mount namespace. A process in another one (a
 *   container, but also a systemd unit with PrivateTmp) could mount its own file at any path: there
 *   the path counts only if it names the same device and inode for the agent, and is
 *   `unix:foreign_path` otherwise.
 *
 * The caller must prove afterwards that the process is still the same (assertSameProcess).
 */
export function unixFacts(sources: UnixSources, peer: Peer): UnixFacts {
  const statusText = sources.proc.read(peer.pid, 'status');
  const status = statusText === undefined ? undefined : parseStatus(statusText);
  if (status === undefined)
    throw new PkiError('PEER_UNVERIFIABLE', 'the process that connected is gone', {
      detail: { pid: peer.pid },
    });
  if (!status.uids.every((id) => id === peer.uid) || !status.gids.every((id) => id === peer.gid)) {
    throw new PkiError('PEER_UNVERIFIABLE', 'the calling process has mixed user or group IDs', {
      detail: { pid: peer.pid, uid: peer.uid, gid: peer.gid },
    });
  }
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

  peer.image.path ??= executablePath(sources, peer.pid);
  const { path, verifiedPath, sha256 } = peer.image;
  const direct = path !== undefined && !path.foreign && !path.deleted;
  if (direct) unix(`path:${path.text}`);
  else if (verifiedPath !== undefined) unix(`path:${verifiedPath}`);
  else if (path?.foreign && !path.deleted) unix(`foreign_path:${path.text}`);
  if (sha256 !== undefined) unix(`sha256:${sha256}`);

  const cgroup = parseCgroup(sources.proc.read(peer.pid, 'cgroup') ?? '');
  if (cgroup.path !== undefined && isPrintable(cgroup.path)) unix(`cgroup:${cgroup.path}`);
  const unit = sources.systemd && cgroup.path !== undefined ? systemdUnit(cgroup.path) : undefined;
  if (unit !== undefined) selectors.push({ type: 'systemd', value: `id:${unit}` });
  if (peer.pinned) selectors.push({ type: 'peer', value: 'pinned' });
  return {
    selectors,
    cgroupKey: cgroup.limitKey,
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
