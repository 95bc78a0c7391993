import { PkiError } from '../common/errors/index.ts';

/** What a stage asks of a stage above it. */
export interface Edges {
  /** Whether an agent has a sync session with this server. Asked by rotation. */
  readonly isConnected: (agentId: string) => boolean;
}

/**
 * The edges that point up the picture, since two stages need each other. The upper stage fills them
 * once; whoever asks before that gets an INTERNAL error, not a wrong answer.
 */
export class LateEdges {
  #edges: Edges | undefined;

  fill(edges: Edges): void {
    if (this.#edges !== undefined)
      throw new PkiError('INTERNAL', 'the late edges are filled already');
    this.#edges = edges;
  }

  get edges(): Edges {
    if (this.#edges === undefined)
      throw new PkiError('INTERNAL', 'a late edge is used before the stage that fills it');
    return this.#edges;
  }
}
