import type { RotationAction } from './types.ts';

/** What an action does to which object: equal for the same action of two decisions. */
function actionKey(action: RotationAction): string {
  switch (action.type) {
    case 'open':
      return `open ${action.kind} ${action.trigger}`;
    case 'standby':
      return `standby ${action.kind}`;
    case 'prepare':
    case 'cancel':
    case 'finish':
      return `${action.type} ${action.operation.id}`;
    case 'cross':
      return `cross ${action.from.id} ${action.to.id}`;
    default:
      return `${action.type} ${action.authority.id}`;
  }
}

interface Attempt<Failure> {
  readonly failure: Failure;
  /** The wait that led to `notBeforeMs`, without its random part. */
  readonly waitMs: number;
  readonly notBeforeMs: number;
}

export interface AttemptWaits {
  readonly firstMs: number;
  readonly longestMs: number;
  /** For a standby, which nobody waits for. */
  readonly standbyMs: number;
}

/**
 * The actions that failed, and when each is tried again. An action that fails holds up no other: each
 * rests on what was observed, and none on the success of another of the same decision. Owner of
 * that memory.
 */
export class Attempts<Failure> {
  readonly #waits: AttemptWaits;
  #failed = new Map<string, Attempt<Failure>>();

  constructor(waits: AttemptWaits) {
    this.#waits = waits;
  }

  /**
   * The first action that may be tried now. Call it with each decision: a failed action that is not
   * asked for any more is forgotten.
   */
  due(actions: readonly RotationAction[], nowMs: number): RotationAction | undefined {
    const asked = new Set(actions.map(actionKey));
    this.#failed = new Map([...this.#failed].filter(([key]) => asked.has(key)));
    return actions.find(
      (action) => (this.#failed.get(actionKey(action))?.notBeforeMs ?? nowMs) <= nowMs,
    );
  }

  /** Returns the wait before the next attempt. `uniform` in [0, 1) spreads replicas. */
  failed(
    action: RotationAction,
    failure: Failure,
    now: { readonly ms: number; readonly uniform: number },
  ): number {
    const { firstMs, longestMs, standbyMs } = this.#waits;
    const key = actionKey(action);
    const before = this.#failed.get(key);
    const waitMs =
      action.type === 'standby'
        ? standbyMs
        : Math.min(before === undefined ? firstMs : before.waitMs * 2, longestMs);
    const spreadMs = action.type === 'standby' ? waitMs : waitMs * (0.5 + now.uniform);
    this.#failed.set(key, { failure, waitMs, notBeforeMs: now.ms + spreadMs });
    return spreadMs;
  }

  succeeded(action: RotationAction): void {
    this.#failed.delete(actionKey(action));
  }

  /** Why an action failed that is still to be done. A standby is passed over: others tell of it. */
  failure(): Failure | undefined {
    for (const [key, { failure }] of this.#failed) if (!key.startsWith('standby ')) return failure;
    return undefined;
  }

  /** Milliseconds until the next attempt; undefined if nothing failed. */
  nextMs(nowMs: number): number | undefined {
    const next = Math.min(...[...this.#failed.values()].map(({ notBeforeMs }) => notBeforeMs));
    return next === Infinity ? undefined : Math.max(0, next - nowMs);
  }
}
