import { isErrorCode, PkiError } from '../../common/errors/index.ts';
import { oneLine, uuidv7, type Clock } from '../../common/runtime/index.ts';
import { silentTurnSeconds, type RolloutPart } from '../../domain/index.ts';
import type { SyncMessage } from '../sync/sync.ts';
import type { TargetAnswer } from './target-report.ts';
import type { TargetAct } from './targets.ts';

export type TargetCommand = Extract<SyncMessage, { kind: 'target' }>;

interface Session {
  readonly token: object;
  readonly send: (command: TargetCommand) => void;
}

interface Waiting {
  readonly agentId: string;
  readonly session: object;
  readonly settle: (error: PkiError | undefined) => void;
}

/** Commands of one agent without an answer. */
const maximumWaiting = 500;

/**
 * Commands to agents, until each is answered. Owner of the sessions to which they go, and of those
 * that wait.
 */
export class TargetCommands {
  readonly #clock: Clock;
  readonly #sessions = new Map<string, Session>();
  readonly #waiting = new Map<string, Waiting>();
  /** The number of them by agent. */
  readonly #counts = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  opened(agentId: string, token: object, send: Session['send']): void {
    this.#sessions.set(agentId, { token, send });
  }

  /** What waits for this session is not answered any more. */
  closed(agentId: string, token: object): void {
    if (this.#sessions.get(agentId)?.token === token) this.#sessions.delete(agentId);
    for (const { session, settle } of [...this.#waiting.values()])
      if (session === token)
        settle(
          new PkiError(
            'AGENT_NOT_CONNECTED',
            `the session of ${agentId} ended before its answer; it may have done it`,
          ),
        );
  }

  /** Resolves with the error of the agent, or undefined where it was done. */
  send(
    agentId: string,
    target: string,
    what:
      | { readonly act: TargetAct }
      | { readonly act: 'turn'; readonly set: string; readonly part: RolloutPart },
  ): { readonly commandId: string; readonly answer: Promise<PkiError | undefined> } {
    const commandId = uuidv7(this.#clock.nowMs());
    const session = this.#sessions.get(agentId);
    if (session === undefined) return { commandId, answer: Promise.resolve(notConnected(agentId)) };
    const count = this.#counts.get(agentId) ?? 0;
    if (count >= maximumWaiting)
      return {
        commandId,
        answer: Promise.resolve(
          new PkiError('OVERLOADED', `${agentId} has not answered ${maximumWaiting} commands`),
        ),
      };
    const { promise: answer, resolve } = Promise.withResolvers<PkiError | undefined>();
    const cancel = this.#clock.after(silentTurnSeconds * 1000, () =>
      settle(
        new PkiError(
          'DEADLINE_EXCEEDED',
          `${agentId} has not answered for ${silentTurnSeconds} s; it may still do it`,
          { next: 'See the state of the target: meshca set list.' },
        ),
      ),
    );
    const settle = (error: PkiError | undefined): void => {
      if (!this.#waiting.delete(commandId)) return;
      const left = (this.#counts.get(agentId) ?? 1) - 1;
      if (left > 0) this.#counts.set(agentId, left);
      else this.#counts.delete(agentId);
      cancel();
      resolve(error);
    };
    this.#counts.set(agentId, count + 1);
    this.#waiting.set(commandId, { agentId, session: session.token, settle });
    session.send({
      ...{ kind: 'target', commandId, target, act: what.act },
      turn: what.act === 'turn' ? { set: what.set, part: what.part } : undefined,
    });
    return { commandId, answer };
  }

  /** Of another session, or a second one: ignored. */
  answered(token: object, { commandId, code, message, next }: TargetAnswer): void {
    const waiting = this.#waiting.get(commandId);
    if (waiting?.session !== token) return;
    waiting.settle(
      code === ''
        ? undefined
        : new PkiError(isErrorCode(code) ? code : 'CONFLICT', clean(message), {
            ...(next === '' ? {} : { next: clean(next) }),
          }),
    );
  }

  close(): void {
    for (const { settle } of [...this.#waiting.values()])
      settle(new PkiError('SHUTTING_DOWN', 'the server is shutting down'));
  }
}

export const notConnected = (agentId: string): PkiError =>
  new PkiError('AGENT_NOT_CONNECTED', `${agentId} has no session with this server`);

const clean = (text: string): string => oneLine(text).slice(0, 500);
