import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../../../src/common/runtime/index.ts';
import type { Inspection, InspectRequest } from './inspect-file.ts';

export interface Inspector extends Disposable {
  /**
   * Never rejects: a failure or a timeout comes back as a problem. `uid` owns the workload; turns
   * are shared fairly between uids.
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
 * for ever. A child past its deadline is killed. A child that survives SIGKILL keeps its slot and
 * the only turn of its uid, so that one user can block at most one slot. Children start on demand
 * and end when idle.
 */
export function startInspector(options: InspectorOptions): Inspector {
  return new ChildInspector(options);
}

// .ts in the sources, .js in dist/
const childScript = fileURLToPath(
  new URL(
    `./inspector-child${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`,
    import.meta.url,
  ),
);

/** Owner of the queue and of the child processes. */
class ChildInspector implements Inspector {
  readonly #clock: Clock;
  readonly #maximumBytes: number;
  readonly #deadlineMs: number;
  readonly #maximumProcesses: number;
  readonly #idleMs: number;
  readonly #idle: { readonly child: ChildProcess; readonly cancel: () => void }[] = [];
  readonly #all = new Set<ChildProcess>();
  readonly #busyUids = new Set<number>();
  readonly #queue: Job[] = [];
  #closed = false;

  constructor(options: InspectorOptions) {
    this.#clock = options.clock;
    this.#maximumBytes = options.maximumBytes ?? 512 * 1024 * 1024;
    this.#deadlineMs = options.deadlineMs ?? 5_000;
    this.#maximumProcesses = options.maximumProcesses ?? 4;
    this.#idleMs = options.idleMs ?? 30_000;
  }

  inspect(uid: number, request: Omit<InspectRequest, 'maximumBytes'>): Promise<Inspection> {
    if (this.#closed) return Promise.resolve(failed('the agent is shutting down'));
    if (
      this.#queue.length >= queueTotal ||
      this.#queue.filter((job) => job.uid === uid).length >= queuePerUid
    )
      return Promise.resolve(failed('too many binaries wait to be read'));
    return new Promise((resolve) => {
      let settled = false;
      const settle = (inspection: Inspection): void => {
        if (settled) return;
        settled = true;
        cancelWait();
        resolve(inspection);
      };
      // the wait for a turn is limited too, since a stuck slot must not hold others back for ever
      const cancelWait = this.#clock.after(this.#deadlineMs * 2, () => {
        const at = this.#queue.indexOf(job);
        if (at >= 0) this.#queue.splice(at, 1);
        settle(failed(`the binary could not be read within ${this.#deadlineMs * 2} ms`));
      });
      const job: Job = {
        uid,
        request: { ...request, maximumBytes: this.#maximumBytes },
        resolve: settle,
      };
      this.#queue.push(job);
      this.#next();
    });
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    for (const { cancel } of this.#idle) cancel();
    for (const child of this.#all) {
      child.kill('SIGKILL');
      if (child.connected) child.disconnect();
    }
    for (const job of this.#queue.splice(0)) job.resolve(failed('the agent is shutting down'));
  }

  #spawn(): ChildProcess {
    const child = fork(childScript, [], {
      env: {},
      execArgv: ['--max-old-space-size=64'],
      stdio: 'ignore',
      serialization: 'json',
    });
    this.#all.add(child);
    child.unref();
    child.channel?.unref();
    child.on('error', () => {});
    child.once('exit', () => {
      this.#all.delete(child);
      const at = this.#idle.findIndex((each) => each.child === child);
      if (at >= 0) this.#idle.splice(at, 1)[0]?.cancel();
      this.#next();
    });
    return child;
  }

  #next(): void {
    while (!this.#closed) {
      const at = this.#queue.findIndex((job) => !this.#busyUids.has(job.uid));
      if (at < 0 || (this.#idle.length === 0 && this.#all.size >= this.#maximumProcesses)) return;
      const job = this.#queue.splice(at, 1)[0] as Job;
      const waiting = this.#idle.pop();
      waiting?.cancel();
      this.#run(waiting?.child ?? this.#spawn(), job);
    }
  }

  #run(child: ChildProcess, job: Job): void {
    this.#busyUids.add(job.uid);
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
      this.#busyUids.delete(job.uid);
      this.#idle.push({
        child,
        cancel: this.#clock.after(this.#idleMs, () => child.kill('SIGKILL')),
      });
      this.#next();
    };
    const onMessage = (inspection: Inspection): void => finish(inspection, true);
    const onExit = (): void => {
      this.#busyUids.delete(job.uid);
      finish(failed('the binary could not be read: the inspecting process ended'), false);
      this.#next();
    };
    const cancel = this.#clock.after(this.#deadlineMs, () => {
      child.kill('SIGKILL');
      finish(failed(`the binary could not be read within ${this.#deadlineMs} ms`), false);
    });
    child.once('message', onMessage);
    child.once('exit', onExit);
    child.send(job.request, (error) => {
      if (error !== null) child.kill('SIGKILL');
    });
  }
}
