import { readFileSync } from 'node:fs';

import { PkiError } from '../common/errors/index.ts';
import { hardenProcess } from './harden.ts';
import { SignerCore, SignerLost } from './signer-core.ts';
import { toWire, type FromSigner, type ToSigner } from './protocol.ts';

/**
 * The entry of a signer process: a process edge, which reads `process`. It communicates over its
 * IPC channel only, and ends with it, so that it never outlives its parent.
 */

let core: SignerCore | undefined;
let ending = false;
/** Keys are taken into use one after another. Messages after a key wait for it. */
let gate: Promise<void> = Promise.resolve();
const running = new Set<Promise<void>>();
const progressMs = 250;
const closeWaitMs = 500;

function send(message: FromSigner): void {
  if (!ending) process.send?.(message);
}

/**
 * The parent kills this process when it receives this message. Until then nothing more is signed.
 */
function lost(thrown: unknown): void {
  send({ type: 'lost', error: toWire(thrown instanceof SignerLost ? thrown.error : thrown) });
  ending = true;
}

/**
 * SIGKILL, because an orderly exit runs the module's destructors. They crash while a thread of the
 * module is signing.
 */
const die = (): void => {
  process.kill(process.pid, 'SIGKILL');
};

/** CPU time of this process so far, in milliseconds. */
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/**
 * The second figure of schedstat, in nanoseconds: the time on a run queue. Other systems than Linux,
 * and kernels without it, count nothing.
 */
function crowdedMs(): number {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'utf8').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
}

async function start(message: Extract<ToSigner, { type: 'start' }>): Promise<void> {
  try {
    core = new SignerCore(message.token, {
      mode: message.mode,
      sessions: message.sessions,
      monotonicMs: () => performance.now(),
      cpuMs,
      crowdedMs,
    });
  } catch (thrown) {
    send({ type: 'start-failed', error: toWire(thrown) });
    ending = true;
    return;
  }
  const unusable: { ckaId: string; error: ReturnType<typeof toWire> }[] = [];
  for (const key of message.keys) {
    try {
      await core.useKey(key);
    } catch (thrown) {
      const error = toWire(thrown);
      if (error.code === 'HSM_SIGNATURE_INVALID') {
        lost(thrown);
        return;
      }
      unusable.push({ ckaId: key.ckaId, error });
    }
  }
  const [first] = unusable;
  // A token without any of the keys is the wrong token, or one that is not back yet.
  if (first !== undefined && unusable.length === message.keys.length) {
    send({ type: 'start-failed', error: first.error });
    ending = true;
    return;
  }
  send({ type: 'started', mode: core.mode, sessions: core.sessions, unusable });
}

async function useKey(
  current: SignerCore,
  message: Extract<ToSigner, { type: 'use-key' }>,
): Promise<void> {
  try {
    await current.useKey(message.key);
    send({ type: 'key-used', id: message.id, mode: current.mode });
  } catch (thrown) {
    const error = toWire(thrown);
    if (error.code === 'HSM_SIGNATURE_INVALID') throw thrown;
    send({ type: 'key-used', id: message.id, mode: current.mode, error });
  }
}

async function macOf(
  current: SignerCore,
  { ckaId, input }: Extract<ToSigner, { type: 'mac' }>,
): Promise<Extract<FromSigner, { type: 'mac-made' }>['outcome']> {
  try {
    return await current.mac(ckaId, input);
  } catch (thrown) {
    if (thrown instanceof SignerLost) throw thrown;
    return toWire(PkiError.from(thrown, 'HSM_FAILED'));
  }
}

async function handle(message: ToSigner): Promise<void> {
  if (message.type === 'start') return start(message);
  if (core === undefined) return;
  switch (message.type) {
    case 'use-key': {
      const current = core;
      gate = gate.then(() => useKey(current, message));
      return gate;
    }
    case 'forget-key':
      await gate;
      core.forgetKey(message.ckaId);
      return;
    case 'sign': {
      await gate;
      const startMs = performance.now();
      const startCpuMs = cpuMs();
      let saidMs = startMs;
      const outcomes = await core.sign(message.items, () => {
        const nowMs = performance.now();
        if (nowMs - saidMs < progressMs) return;
        saidMs = nowMs;
        send({ type: 'progress' });
      });
      // a token that computes in this process takes no longer because other processes run as well
      const spentMs = core.mode === 'sync' ? cpuMs() - startCpuMs : performance.now() - startMs;
      send({ type: 'signed', id: message.id, outcomes, spentMs });
      return;
    }
    case 'mac':
      await gate;
      send({ type: 'mac-made', id: message.id, outcome: await macOf(core, message) });
      return;
    case 'probe':
      await core.probe();
      send({ type: 'probed', id: message.id });
      return;
    case 'invalidate-sessions':
      core.invalidateSessions();
      return;
    case 'close':
      ending = true;
      // Finalising a module while one of its threads is signing crashes it.
      await Promise.race([
        Promise.allSettled(running),
        new Promise((resolve) => setTimeout(resolve, closeWaitMs)),
      ]);
      try {
        core.close();
      } finally {
        die();
      }
  }
}

process.on('message', (message: ToSigner) => {
  if (ending) return;
  const work = handle(message).catch(lost);
  if (message.type === 'close') return;
  running.add(work);
  void work.then(() => running.delete(work));
});
process.on('disconnect', die);
// Ctrl-C and systemd signal the whole group. The parent ends its signers after it has drained.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
process.on('SIGHUP', () => {});
process.on('uncaughtException', lost);
hardenProcess(process.platform);
