const mebibyte = 1024 * 1024;

/**
 * Sizes of all CRLs together, in bytes. They travel to an agent, and from it to a workload, in one
 * message with all that the receiver needs beside them.
 */
export const crlBounds = {
  /** gRPC clients take messages of 4 MiB unless they set another limit. */
  workloads: 3 * mebibyte,
  /** Agents take messages of 16 MiB. */
  agents: 12 * mebibyte,
} as const;

/**
 * Who gets the CRLs.
 * - `all`: agents, and workloads whatever their client is.
 * - `large-messages`: workloads whose client states that it takes messages above 4 MiB. The others get
 *   their certificates without CRLs as soon as a message with both would be larger.
 * - `http`: readers over HTTP. Agents get none, so that they go on with everything else.
 */
export type CrlReach = 'all' | 'large-messages' | 'http';

export function crlReach(crls: readonly { readonly der: Buffer }[]): CrlReach {
  const bytes = crls.reduce((sum, { der }) => sum + der.length, 0);
  if (bytes > crlBounds.agents) return 'http';
  return bytes > crlBounds.workloads ? 'large-messages' : 'all';
}
