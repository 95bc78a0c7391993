import { spawnSync } from 'node:child_process';
import { copyFileSync, linkSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { DemoHome } from './home.ts';
import type { WorkloadName } from './model.ts';

/** How one demo workload is told from the other by the kernel. */
export interface WorkloadAccount {
  readonly command: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly selectors: readonly string[];
}

/** User IDs of nobody, for the case that we may choose. */
const uids: Record<WorkloadName, number> = { greeter: 64_101, caller: 64_102 };

/**
 * As root the workloads run as two users of their own and are known by them. Otherwise, and where
 * those users could not read the program, both run as this user, each from its own copy of the Node
 * binary, and are known by user **and** path.
 */
export function accounts(
  home: DemoHome,
  node: string,
  script: string,
  uid: number,
): Record<WorkloadName, WorkloadAccount> {
  if (uid === 0 && canRunAs(uids.greeter, node, script)) {
    const asUser = (name: WorkloadName): WorkloadAccount => ({
      command: node,
      uid: uids[name],
      gid: uids[name],
      selectors: [`unix:uid:${uids[name]}`],
    });
    return { greeter: asUser('greeter'), caller: asUser('caller') };
  }
  const asBinary = (name: WorkloadName): WorkloadAccount => {
    const command = join(home.bin, name);
    provide(node, command);
    return { command, selectors: [`unix:uid:${uid}`, `unix:path:${command}`] };
  };
  return { greeter: asBinary('greeter'), caller: asBinary('caller') };
}

const canRunAs = (uid: number, node: string, script: string): boolean =>
  spawnSync(node, ['--check', script], {
    uid,
    gid: uid,
    cwd: '/',
    stdio: 'ignore',
    timeout: 10_000,
  }).status === 0;

/**
 * A hard link where the file system allows it, else a copy: the kernel names the path that was
 * executed.
 */
function provide(node: string, target: string): void {
  try {
    if (statSync(target).ino === statSync(node).ino) return;
  } catch {
    // not there yet
  }
  rmSync(target, { force: true });
  try {
    linkSync(node, target);
  } catch {
    copyFileSync(node, target);
  }
}
