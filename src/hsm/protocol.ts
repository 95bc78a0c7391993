import { PkiError, type ErrorCode } from '../common/errors/index.ts';
import type { KeyHandle, SignItem, SignOutcome } from './signing-port.ts';
import type { MacKeyHandle } from './mac-port.ts';
import type { TokenKey } from './token-port.ts';

/**
 * Messages between parent and child over the IPC channel of child_process.fork with `serialization:
 * 'advanced'`. The channel is a socket pair that no other process can open. The first message
 * carries the PIN; no other message does.
 */

export type EngineMode = 'auto' | 'sync' | 'async';

export interface TokenAccess {
  readonly modulePath: string;
  readonly tokenLabel: string;
  readonly pin: string;
}

/** An error on its way between processes. Causes are left out, since they may contain anything. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly next?: string;
}

/** A key that a signer takes into use: for signatures, or for MACs. */
export type UsableKey = KeyHandle | MacKeyHandle;

export const isMacKey = (key: UsableKey): key is MacKeyHandle => 'checkValue' in key;

export type ToSigner =
  | {
      readonly type: 'start';
      readonly token: TokenAccess;
      readonly mode: EngineMode;
      readonly sessions: number;
      readonly keys: readonly UsableKey[];
    }
  | { readonly type: 'use-key'; readonly id: number; readonly key: UsableKey }
  | { readonly type: 'forget-key'; readonly ckaId: string }
  | { readonly type: 'sign'; readonly id: number; readonly items: readonly SignItem[] }
  | {
      readonly type: 'mac';
      readonly id: number;
      readonly ckaId: string;
      readonly input: Buffer;
    }
  | { readonly type: 'probe'; readonly id: number }
  | { readonly type: 'invalidate-sessions' }
  | { readonly type: 'close' };

export type FromSigner =
  | {
      readonly type: 'started';
      readonly mode: EngineMode;
      readonly sessions: number;
      readonly unusable: readonly { readonly ckaId: string; readonly error: WireError }[];
    }
  | { readonly type: 'start-failed'; readonly error: WireError }
  | {
      readonly type: 'key-used';
      readonly id: number;
      readonly mode: EngineMode;
      readonly error?: WireError;
    }
  /**
   * `spentMs`: the time of the chunk in the signer, in `sync` mode its CPU time. The parent derives
   * the size of later chunks from it.
   */
  | {
      readonly type: 'signed';
      readonly id: number;
      readonly outcomes: readonly SignOutcome[];
      readonly spentMs: number;
    }
  | {
      readonly type: 'mac-made';
      readonly id: number;
      readonly outcome: Buffer | WireError;
    }
  | { readonly type: 'probed'; readonly id: number }
  /**
   * Sent between the items of a slow chunk. The deadline limits silence, not the size of a chunk.
   */
  | { readonly type: 'progress' }
  /**
   * The signer can not continue, and the parent kills it. With HSM_SIGNATURE_INVALID all signers
   * stop.
   */
  | { readonly type: 'lost'; readonly error: WireError };

export type AdminCall =
  | { readonly name: 'open'; readonly token: TokenAccess }
  | {
      readonly name: 'generate-key';
      readonly ckaId: string;
      readonly label: string;
      readonly keyType: KeyHandle['keyType'];
    }
  | { readonly name: 'find-key'; readonly ckaId: string }
  | { readonly name: 'list-keys' }
  | { readonly name: 'sign'; readonly key: KeyHandle; readonly bytes: Buffer }
  | { readonly name: 'generate-mac-key'; readonly ckaId: string; readonly label: string }
  | { readonly name: 'find-mac-key'; readonly ckaId: string }
  | { readonly name: 'destroy-key'; readonly ckaId: string }
  | { readonly name: 'close' };

export interface ToAdmin {
  readonly id: number;
  readonly call: AdminCall;
}

export type AdminResult =
  | { readonly spkiDer: Buffer }
  | { readonly key: TokenKey | undefined }
  | { readonly keys: readonly TokenKey[] }
  | { readonly signature: Buffer }
  | { readonly checkValue: Buffer | undefined }
  | undefined;

export type FromAdmin =
  | { readonly id: number; readonly ok: true; readonly result: AdminResult }
  | { readonly id: number; readonly ok: false; readonly error: WireError };

export function toWire(thrown: unknown): WireError {
  const { code, message, next } = PkiError.from(thrown);
  return { code, message, next };
}

export const fromWire = (error: WireError, grade: 'fatal' | 'request' = 'request'): PkiError =>
  new PkiError(error.code, error.message, {
    grade,
    ...(error.next === undefined ? {} : { next: error.next }),
  });
