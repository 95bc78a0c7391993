import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../../src/common/runtime/index.ts';
import type { Inspection, InspectRequest } from './inspect-file.ts';

export interface Inspector extends Disposable {
  /**
   * Never rejects: what can not be found out in time comes back as a problem. `uid` is whose file
   * it is, for fairness.
   */
  inspect(uid: number, request: Omit<InspectRequest, 'maximumBytes'>): Promise<Inspection>;
}

export interface InspectorOptions {
  readonly clock: Clock;
  /** Default 512 MiB. */
  readonly maximumBytes?: number;
  /** Per file, default 5,000. */
  readonly deadlineMs?: number;
  /** Default 4. */
  readonly maximumProcesses?: number;
  /** An idle process is ended after this, default 30,000. */
  readonly idleMs?: number;
}

interface Job {
  readonly uid: number;
  readonly request: InspectRequest;
  readonly resolve: (inspection: Inspection) => void;
}

const queuePerUid = 32;
const queueTotal = 256;
const failed = (problem: string): Inspection => ({ samePath: false, unlinked: false, problem });

/**
 * Reads binaries in child processes, since a file system that a workload controls can hang a reader
 * for ever. A child past its deadline is killed; one that not even SIGKILL ends keeps its slot and
 * its uid's only turn, so that one user can block one slot and no more. Children start on demand
 * and end when idle: an agent whose entries name no hash pays nothing.
 */
export function startInspector(options: InspectorOptions): Inspector {
  const {
    clock,
    maximumBytes = 512 * 1024 * 1024,
    deadlineMs = 5_000,
    maximumProcesses = 4,
    idleMs = 30_000,
  } = options;
  // the extension differs between source and dist
  const script = fileURLToPath(
    new URL(
      `./inspector-child${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`,
      import.meta.url,
    ),
  );
  const idle: { readonly child: ChildProcess; readonly cancel: () => void }[] = [];
  const all = new Set<ChildProcess>();
  const busyUids = new Set<number>();
  const queue: Job[] = [];
  let closed = false;

  const spawn = (): ChildProcess => {
    const child = fork(script, [], {
      env: {},
      execArgv: ['--max-old-space-size=64'],
      stdio: 'ignore',
      serialization: 'json',
    });
    all.add(child);
    child.unref();
    child.channel?.unref();
    child.on('error', () => {});
    child.once('exit', () => {
      all.delete(child);
      const at = idle.findIndex((each) => each.child === child);
      if (at >= 0) idle.splice(at, 1)[0]?.cancel();
      next();
    });
    return child;
  };

  const next = (): void => {
    while (!closed) {
      const at = queue.findIndex((job) => !busyUids.has(job.uid));
      if (at < 0 || (idle.length === 0 && all.size >= maximumProcesses)) return;
      const job = queue.splice(at, 1)[0] as Job;
      const waiting = idle.pop();
      waiting?.cancel();
      run(waiting?.child ?? spawn(), job);
    }
  };

  const run = (child: ChildProcess, job: Job): void => {
    busyUids.add(job.uid);
    child.ref();
    child.channel?.ref();
    let answered = false;
    const finish = (inspection: Inspection, alive: boolean): void => {
      if (answered) return;
      answered = true;
      cancel();
      child.off('message', onMessage);
      child.unref();
      child.channel?.unref();
      job.resolve(inspection);
      if (!alive) return;
      child.off('exit', onExit);
      busyUids.delete(job.uid);
      idle.push({ child, cancel: clock.after(idleMs, () => child.kill('SIGKILL')) });
      next();
    };
    const onMessage = (inspection: Inspection): void => finish(inspection, true);
    const onExit = (): void => {
      busyUids.delete(job.uid);
      finish(failed('the binary could not be read: the inspecting process ended'), false);
      next();
    };
    const cancel = clock.after(deadlineMs, () => {
      child.kill('SIGKILL');
      finish(failed(`the binary could not be read within ${deadlineMs} ms`), false);
    });
    child.once('message', onMessage);
    child.once('exit', onExit);
    child.send(job.request, (error) => {
      if (error !== null) child.kill('SIGKILL');
    });
  };

  return {
    inspect(uid, request) {
      if (closed) return Promise.resolve(failed('the agent is shutting down'));
      if (
        queue.length >= queueTotal ||
        queue.filter((job) => job.uid === uid).length >= queuePerUid
      ) {
        return Promise.resolve(failed('too many binaries wait to be read'));
      }
      return new Promise((resolve) => {
        let settled = false;
        const settle = (inspection: Inspection): void => {
          if (settled) return;
          settled = true;
          cancelWait();
          resolve(inspection);
        };
        // the wait for a turn counts too: a stuck slot must not hold others back for ever
        const cancelWait = clock.after(deadlineMs * 2, () => {
          const at = queue.indexOf(job);
          if (at >= 0) queue.splice(at, 1);
          settle(failed(`the binary could not be read within ${deadlineMs * 2} ms`));
        });
        const job: Job = { uid, request: { ...request, maximumBytes }, resolve: settle };
        queue.push(job);
        next();
      });
    },
    [Symbol.dispose]() {
      closed = true;
      for (const { cancel } of idle) cancel();
      for (const child of all) {
        child.kill('SIGKILL');
        if (child.connected) child.disconnect();
      }
      for (const job of queue.splice(0)) job.resolve(failed('the agent is shutting down'));
    },
  };
}
