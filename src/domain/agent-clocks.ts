/** Fewer agents judge no clock. */
const fewestJudges = 3;

/**
 * How far the clock of the server is ahead of those of the agents, in seconds; 0: not beyond the
 * tolerance, as far as most of them tell. The median decides, so that agents with a wrong clock, or
 * that lie, decide nothing while they are fewer than half.
 *
 * @param aheadSeconds how far the server is ahead of each agent
 */
export function aheadOfAgents(aheadSeconds: readonly number[], toleranceSeconds: number): number {
  if (aheadSeconds.length < fewestJudges) return 0;
  const sorted = [...aheadSeconds].sort((one, other) => one - other);
  // of the two in the middle the one nearer to the server's clock
  const middle = [sorted[(sorted.length - 1) >> 1] ?? 0, sorted[sorted.length >> 1] ?? 0];
  const median = middle.reduce((one, other) => (Math.abs(other) < Math.abs(one) ? other : one));
  return Math.abs(median) > toleranceSeconds ? Math.trunc(median) : 0;
}
