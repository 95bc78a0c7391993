import type { Random } from '../../../common/runtime/index.ts';
import { selectorText } from '../../../common/spiffe/index.ts';
import type { Agent, Proven } from '../../../domain/index.ts';
import {
  absent,
  readAnswer,
  type StatedResult,
  type VantageAnswer,
  type VantageAsk,
  type VantageTask,
} from './vantage-task.ts';

/** The part of one sync session that is about validations. */
export interface VantageSession {
  /** Of a task of another session, of one that is over, or a second time: ignored. */
  answered(result: StatedResult): void;
  closed(): void;
}

/** An agent that has a session, and whose operator lets it validate. */
export interface VantageAgent {
  readonly agentId: string;
  /** Those of its node, as texts. */
  readonly selectors: ReadonlySet<string>;
}

interface Session extends VantageAgent {
  /** False: it takes none now. */
  readonly send: (task: VantageTask) => boolean;
  /** Tasks without an answer. */
  underWay: number;
}

interface Waiting {
  readonly session: Session;
  readonly settle: (answer: VantageAnswer) => void;
}

/** Tasks of one agent without an answer; those beyond are not sent. */
const maximumUnderWay = 64;

/**
 * Tasks of validation for agents, each until its answer. An answer counts for the session that the
 * task was sent to, once, while somebody waits for it. Owner of the sessions and of what waits.
 */
export class VantageAgents {
  readonly #random: Pick<Random, 'bytes' | 'uniform'>;
  /** By the ID of the agent. */
  readonly #sessions = new Map<string, Session>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #forgotten = new Set<(agentId: string) => void>();

  constructor({ random }: { readonly random: Pick<Random, 'bytes' | 'uniform'> }) {
    this.#random = random;
  }

  /** `send`: undefined for an agent that does not offer it. */
  open(
    { spiffeId, selectors }: Proven<Agent>,
    send: ((task: VantageTask) => boolean) | undefined,
  ): VantageSession {
    if (send === undefined) {
      this.#sessions.delete(spiffeId);
      return { answered: () => {}, closed: () => {} };
    }
    const session: Session = {
      ...{ agentId: spiffeId, send, underWay: 0 },
      selectors: new Set(selectors.map(selectorText)),
    };
    this.#sessions.set(spiffeId, session);
    return {
      answered: (result) => {
        const waiting = this.#waiting.get(result.taskId);
        if (waiting?.session === session) waiting.settle(readAnswer(result));
      },
      closed: () => {
        if (this.#sessions.get(spiffeId) === session) this.#sessions.delete(spiffeId);
        this.#end((each) => each === session);
      },
    };
  }

  connected(): readonly VantageAgent[] {
    return [...this.#sessions.values()];
  }

  /** One of these agents, by chance. Undefined: there are none. */
  oneOf(agents: readonly VantageAgent[]): VantageAgent | undefined {
    return agents[Math.floor(this.#random.uniform() * agents.length)];
  }

  /** Resolves when the agent has answered, or its session has ended, or at the abort. */
  async ask(agentId: string, ask: VantageAsk, signal: AbortSignal): Promise<VantageAnswer> {
    const session = this.#sessions.get(agentId);
    if (session === undefined) return absent('not-connected');
    if (session.underWay >= maximumUnderWay) return absent('overloaded');
    if (signal.aborted) return absent('silent');
    const taskId = this.#random.bytes(16).toString('base64url');
    const { promise, resolve } = Promise.withResolvers<VantageAnswer>();
    const stop = (): void => resolve(absent('silent'));
    signal.addEventListener('abort', stop, { once: true });
    session.underWay += 1;
    this.#waiting.set(taskId, { session, settle: resolve });
    try {
      return session.send({ ...ask, taskId }) ? await promise : absent('overloaded');
    } finally {
      this.#waiting.delete(taskId);
      session.underWay -= 1;
      signal.removeEventListener('abort', stop);
    }
  }

  /** The agent was banned or evicted: what it said counts no more, where it is not decided yet. */
  forget(agentId: string): void {
    this.#sessions.delete(agentId);
    this.#end((session) => session.agentId === agentId);
    for (const listener of this.#forgotten) listener(agentId);
  }

  onForgotten(listener: (agentId: string) => void): () => void {
    this.#forgotten.add(listener);
    return () => this.#forgotten.delete(listener);
  }

  #end(isOver: (session: Session) => boolean): void {
    for (const { session, settle } of [...this.#waiting.values()])
      if (isOver(session)) settle(absent('not-connected'));
  }
}
