import { setImmediate as immediate } from 'node:timers/promises';

/**
 * In this order: code that gathers the calls of a turn into one, the writer behind it, and code
 * that hands work to other processes.
 */
const stages = ['gather', 'write', 'hand-over'] as const;
export type TurnStage = (typeof stages)[number];

const waiting: Record<TurnStage, (() => void)[]> = { gather: [], write: [], 'hand-over': [] };
let scheduled = false;

/**
 * Calls back when this turn of the event loop has read its sockets: all callbacks of a stage before
 * any of the next. With an immediate of its own each stage would wait for another turn, and under
 * load a turn takes milliseconds.
 */
export function atTurnEnd(stage: TurnStage, callback: () => void): void {
  waiting[stage].push(callback);
  if (scheduled) return;
  scheduled = true;
  setImmediate(run);
}

/**
 * Resolves in the next turn of the event loop: work that takes milliseconds ends its share of this
 * one. An immediate alone does not, since one of a socket's callback runs in the same turn.
 */
export async function nextTurn(): Promise<void> {
  await immediate();
  await immediate();
}

function run(): void {
  scheduled = false;
  for (const stage of stages) {
    const callbacks = waiting[stage];
    waiting[stage] = [];
    for (const [index, callback] of callbacks.entries()) {
      try {
        callback();
      } catch (thrown) {
        // a throw does not stop the other callbacks, as with an immediate each
        for (const rest of callbacks.slice(index + 1)) atTurnEnd(stage, rest);
        if (!scheduled && stages.some((each) => waiting[each].length > 0)) {
          scheduled = true;
          setImmediate(run);
        }
        throw thrown;
      }
    }
  }
}
