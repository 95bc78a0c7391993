import { PkiError } from '../common/errors/index.ts';

/** What a stage asks of a higher stage. */
export interface Edges {
  /**
   * Whether an agent has a sync session with this server, or a control plane watches. Rotation asks
   * this.
   */
  readonly isConnected: (agentId: string) => boolean;
}

/**
 * The edges that point up the picture, because two stages need each other. The upper stage fills
 * them once. A use before that is an INTERNAL error, not a wrong answer.
 */
export class LateEdges {
  #edges: Edges | undefined;

  fill(edges: Edges): void {
    if (this.#edges !== undefined)
      throw new PkiError('INTERNAL', 'the late edges are already filled');
    this.#edges = edges;
  }

  get edges(): Edges {
    if (this.#edges === undefined)
      throw new PkiError('INTERNAL', 'a late edge is used before the stage that fills it');
    return this.#edges;
  }
}
