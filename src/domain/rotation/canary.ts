/** Handshakes of the consumers of one node with peers under an authority, over the window. */
export interface NodeHandshakes {
  readonly agentId: string;
  readonly succeeded: number;
  readonly failed: number;
}

export interface CanaryVerdict {
  /** Nodes that report handshakes. */
  readonly reporters: number;
  /** Part of handshakes that fail, judged by node and without the outliers. */
  readonly failureRate: number;
  /** Agents whose handshakes fail more than is accepted, the worst first. */
  readonly failing: readonly string[];
}

/**
 * Each node has one voice, however many handshakes it counts: the part of its handshakes that
 * failed. A share of the voices is left out at either end before the mean is taken, so that up to
 * that share of the reporting nodes may lie: what remains lies between what honest nodes say. Of
 * few nodes nobody is left out: with a share of 0.25 that begins at four.
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
  const leftOut = Math.min(
    Math.floor(voices.length * lyingShare),
    Math.max(0, Math.floor((voices.length - 1) / 2)),
  );
  const counted = voices.slice(leftOut, voices.length - leftOut);
  const sum = counted.reduce((total, { rate }) => total + rate, 0);
  return {
    reporters: voices.length,
    failureRate: counted.length === 0 ? 0 : sum / counted.length,
    failing: voices.filter(({ rate }) => rate > maximumFailureRate).map(({ agentId }) => agentId),
  };
}
