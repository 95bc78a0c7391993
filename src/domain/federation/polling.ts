/** How often a bundle endpoint is asked, in seconds. */
export interface PollLimits {
  readonly minimumSeconds: number;
  readonly maximumSeconds: number;
}

/** Where the document has no hint (SPIFFE Federation, section 5.3: the consumer decides). */
const defaultPollSeconds = 300;

/** After so many polls that brought nothing a bundle is stale. */
const stalePolls = 3;

/** The time between two polls: the refresh hint of the bundle held, within the limits. */
export const pollSeconds = (
  hintSeconds: number,
  { minimumSeconds, maximumSeconds }: PollLimits,
): number =>
  Math.min(
    maximumSeconds,
    Math.max(minimumSeconds, hintSeconds === 0 ? defaultPollSeconds : hintSeconds),
  );

/** From when on a bundle is stale that was last confirmed at `refreshedAt`, Unix seconds. */
export const staleFrom = (refreshedAt: number, everySeconds: number): number =>
  refreshedAt + stalePolls * everySeconds;
