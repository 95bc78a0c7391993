/** Handshakes of one node's consumers with peers under an authority, within the window. */
export interface NodeHandshakes {
  readonly agentId: string;
  readonly succeeded: number;
  readonly failed: number;
}

export interface CanaryVerdict {
  /** The number of nodes that report handshakes. */
  readonly reporters: number;
  /** The rate of failed handshakes, judged by node and without the outliers. */
  readonly failureRate: number;
  /** Agents with a higher failure rate than accepted, worst first. */
  readonly failing: readonly string[];
}

/** From this number of reporting nodes on, one liar is outvoted. */
const smallestQuorum = 3;

/**
 * Each node has one vote, whatever its number of handshakes: its rate of failed handshakes. Before
 * the mean is computed, a share of the votes is dropped at either end. So up to that share of the
 * reporting nodes may lie: the remaining votes are between those of honest nodes. From three nodes
 * on at least one vote is dropped at either end, unless the share is 0. The votes of one or two
 * nodes can not show who lies: every vote counts, and a failing one is named.
 */
export function judgeCanary(
  nodes: readonly NodeHandshakes[],
  {
    maximumFailureRate,
    lyingShare,
  }: { readonly maximumFailureRate: number; readonly lyingShare: number },
): CanaryVerdict {
  const voices = nodes
    .filter(({ succeeded, failed }) => succeeded + failed > 0)
    .map(({ agentId, succeeded, failed }) => ({ agentId, rate: failed / (succeeded + failed) }))
    .sort((a, b) => b.rate - a.rate);
  const leftOut = votesDropped(voices.length, lyingShare);
  const counted = voices.slice(leftOut, voices.length - leftOut);
  const sum = counted.reduce((total, { rate }) => total + rate, 0);
  return {
    reporters: voices.length,
    failureRate: counted.length === 0 ? 0 : sum / counted.length,
    failing: voices.filter(({ rate }) => rate > maximumFailureRate).map(({ agentId }) => agentId),
  };
}

/** The number of votes that are dropped at either end. At least one vote remains. */
function votesDropped(votes: number, lyingShare: number): number {
  const least = lyingShare > 0 && votes >= smallestQuorum ? 1 : 0;
  const most = Math.max(0, Math.floor((votes - 1) / 2));
  return Math.min(most, Math.max(least, Math.floor(votes * lyingShare)));
}
