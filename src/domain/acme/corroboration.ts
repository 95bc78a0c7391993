/** What an agent of one place in the network said of a validation. */
export interface Perspective {
  /** As the configuration names it. */
  readonly name: string;
  /**
   * `absent`: it said nothing, or tried nothing. `disagreed`: it saw something else than the
   * server, which saw that the challenge is met.
   */
  readonly result: PerspectiveResult;
  /** The type of the problem that it saw, or why it is absent; empty with `agreed`. */
  readonly code: string;
  /** Addresses that it dialled, or name servers that it asked, in order. */
  readonly seenAt: readonly string[];
}

export const perspectiveResults = ['agreed', 'disagreed', 'absent'] as const;
export type PerspectiveResult = (typeof perspectiveResults)[number];

/** How many perspectives decide, beside that of the server, which must always agree. */
export interface Quorum {
  /** So many at least must agree. */
  readonly agreeing: number;
  /** So many at most may disagree. */
  readonly disagreeing: number;
}

/**
 * - `corroborated`: enough agree, and not too many disagree.
 * - `contradicted`: those who disagree decide, whatever the absent ones would say.
 * - `short`: the absent ones would decide. Nothing follows for the name.
 * - `open`: those who were asked and have not answered yet decide.
 */
export type Corroboration = 'corroborated' | 'contradicted' | 'short' | 'open';

/**
 * Judges what the perspectives said (multi-perspective corroboration, RFC 8555 section 10.2). Pure.
 * Nobody is counted for what he did not say: absent perspectives neither agree nor disagree.
 *
 * @param results one for each perspective of the configuration; `awaited`: it was asked and has not
 * answered
 */
export function corroborationOf(
  results: readonly (PerspectiveResult | 'awaited')[],
  { agreeing, disagreeing }: Quorum,
): Corroboration {
  const count = (wanted: PerspectiveResult | 'awaited'): number =>
    results.filter((result) => result === wanted).length;
  const [agreed, disagreed, absent, awaited] = [
    count('agreed'),
    count('disagreed'),
    count('absent'),
    count('awaited'),
  ];
  if (disagreed > disagreeing) return 'contradicted';
  if (agreed >= agreeing && disagreed + awaited <= disagreeing) return 'corroborated';
  if (awaited > 0) return 'open';
  return agreed + absent < agreeing ? 'contradicted' : 'short';
}
