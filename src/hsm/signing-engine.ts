import type pkcs11 from 'pkcs11js';

import { calling, hsmError } from './ckr.ts';
import type { SessionPool } from './session-pool.ts';

/** A key in the token, as an operation needs it. */
export interface EngineKey {
  /** The object handle. Valid in this process until the token is lost. */
  readonly handle: Buffer;
  readonly mechanism: pkcs11.Mechanism;
  /**
   * Octets of the buffer for the answer. Too small a buffer would leave the operation active and
   * the session stuck.
   */
  readonly outputLength: number;
}

/**
 * Makes one signature or MAC in the token, raw (ECDSA as r || s). `sync` blocks the process during C_Sign.
 * It is faster if the token computes in this process (SoftHSM). `async` keeps one operation per
 * session in flight. It is faster if the token is behind a network. `input` must not be changed
 * until the answer has come.
 */
export interface SigningEngine {
  readonly mode: 'sync' | 'async';
  /** The useful number of concurrent operations. */
  readonly concurrency: number;
  sign(key: EngineKey, input: Buffer): Buffer | Promise<Buffer>;
}

export function syncEngine(lib: pkcs11.PKCS11, pool: SessionPool): SigningEngine {
  return {
    mode: 'sync',
    concurrency: 1,
    sign: (key, input) => {
      const session = pool.acquireNow();
      try {
        calling('C_SignInit', () => lib.C_SignInit(session.handle, key.mechanism, key.handle));
        return calling('C_Sign', () =>
          lib.C_Sign(session.handle, input, Buffer.allocUnsafe(key.outputLength)),
        );
      } finally {
        pool.release(session);
      }
    },
  };
}

export function asyncEngine(lib: pkcs11.PKCS11, pool: SessionPool): SigningEngine {
  // pkcs11js references only the callback of an asynchronous call (its issue 121). A buffer without
  // another reference is collected during C_Sign. A local variable is not enough, because V8 drops
  // variables that are not read again.
  const pinned = new Set<{ readonly input: Buffer; readonly output: Buffer }>();
  return {
    mode: 'async',
    get concurrency() {
      return pool.size;
    },
    sign: async (key, input) => {
      const session = await pool.acquire();
      const buffers = { input, output: Buffer.allocUnsafeSlow(key.outputLength) };
      pinned.add(buffers);
      try {
        calling('C_SignInit', () => lib.C_SignInit(session.handle, key.mechanism, key.handle));
        return await new Promise<Buffer>((resolve, reject) => {
          lib.C_Sign(
            session.handle,
            buffers.input,
            buffers.output,
            (error: Error | null, signature) => {
              if (error) reject(hsmError('C_Sign', error));
              else resolve(signature);
            },
          );
        });
      } finally {
        pinned.delete(buffers);
        pool.release(session);
      }
    },
  };
}

/** Clocks of one process, in milliseconds. Only differences have a meaning. */
export interface EngineMeasure {
  readonly monotonicMs: () => number;
  /** CPU time of the process. */
  readonly cpuMs: () => number;
  /** Time in which its main thread could have run, and other processes had the CPU. */
  readonly crowdedMs: () => number;
}

/**
 * Chooses by what the token does while it signs. A token that computes inside this process uses its
 * CPU time, and several signer processes already give all the concurrency that helps. A token that
 * is waited for leaves the CPU idle. Rates alone would mislead on a machine whose other cores are
 * idle at the start. The time in which other processes had the CPU counts neither way: on a crowded
 * machine it would look like the wait for a token.
 */
export async function chooseEngine(
  engines: { readonly sync: SigningEngine; readonly async: SigningEngine },
  key: EngineKey,
  input: Buffer,
  measure: EngineMeasure,
): Promise<SigningEngine> {
  const budgetMs = 40;
  const startMs = measure.monotonicMs();
  const startCpuMs = measure.cpuMs();
  const startCrowdedMs = measure.crowdedMs();
  let signed = 0;
  while (signed < 32 && measure.monotonicMs() - startMs < budgetMs) {
    await engines.sync.sign(key, input);
    signed++;
  }
  const syncMs = (measure.monotonicMs() - startMs) / signed;
  const busyMs = measure.cpuMs() - startCpuMs;
  const waitedMs =
    measure.monotonicMs() - startMs - busyMs - (measure.crowdedMs() - startCrowdedMs);
  if (busyMs > waitedMs) return engines.sync;

  const parallel = engines.async.concurrency * 2;
  const asyncStartMs = measure.monotonicMs();
  // oxlint-disable-next-line typescript/await-thenable -- values and promises are mixed on purpose
  await Promise.all(
    Array.from({ length: parallel }, async () => engines.async.sign(key, Buffer.from(input))),
  );
  const asyncMs = (measure.monotonicMs() - asyncStartMs) / parallel;
  return asyncMs * 1.5 < syncMs ? engines.async : engines.sync;
}
