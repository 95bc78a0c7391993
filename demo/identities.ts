import { spawnSync } from 'node:child_process';
import { copyFileSync, linkSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { DemoHome } from './home.ts';
import type { WorkloadName } from './model.ts';

/** How the kernel distinguishes the demo workloads. */
export interface WorkloadAccount {
  readonly command: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly selectors: readonly string[];
}

/** Unused user IDs, for a start as root. */
const uids: Record<WorkloadName, number> = { greeter: 64_101, caller: 64_102 };

/**
 * As root the workloads run as two users, by which they are identified. Otherwise, or if those
 * users could not read the program, both run as this user, each from its own copy of the Node
 * binary, and are identified by user **and** path.
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
 * Makes a hard link if the file system allows it, or else a copy, since the kernel names the
 * executed path.
 */
function provide(node: string, target: string): void {
  try {
    if (statSync(target).ino === statSync(node).ino) return;
  } catch {
    // it does not exist yet
  }
  rmSync(target, { force: true });
  try {
    linkSync(node, target);
  } catch {
    copyFileSync(node, target);
  }
}
