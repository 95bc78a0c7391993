/** An SVID in the line of an agent's present session. */
export interface LineSvid {
  readonly serial: string;
  /** Serial of the SVID whose renewal gave this one; null: it came from an attestation. */
  readonly renewed: string | null;
}

/**
 * The SVIDs of an agent's present session that still count. An SVID outside the line is no
 * credential any more.
 */
export interface AgentLine {
  readonly spiffeId: string;
  /** In the order of issuance. */
  readonly svids: readonly LineSvid[];
  /**
   * Serial of the newest SVID whose sync session was welcomed; null: none yet. Its renewals that
   * are not used yet are in the line too.
   */
  readonly inUse: string | null;
  /** Serial of the newest used SVID that is on the agent's disk; null: the agent reported none. */
  readonly kept: string | null;
}

/**
 * What an SVID may be used for.
 * - `full`: it is in use, or descends from the one in use. It may sync, call and renew.
 * - `recover`: a newer one is in use, but the agent's disk may hold no other. Its key may begin a
 *   new session, and nothing else.
 * - `none`: nothing.
 */
export type LineStanding = 'full' | 'recover' | 'none';

/** The limit for an agent that never uses its renewals, or never stores one. */
const longestLine = 64;

/** The line of a session that an attestation began. */
export const lineFrom = ({
  spiffeId,
  serial,
}: {
  spiffeId: string;
  serial: string;
}): AgentLine => ({
  spiffeId,
  svids: [{ serial, renewed: null }],
  inUse: null,
  kept: null,
});

export function standingIn(line: AgentLine, serial: string): LineStanding {
  if (!line.svids.some((svid) => svid.serial === serial)) return 'none';
  if (line.inUse === null || ancestry(line, serial).includes(line.inUse)) return 'full';
  return ancestry(line, line.inUse).includes(serial) ? 'recover' : 'none';
}

/** The line after a renewal. Undefined: the SVID may not be renewed. */
export function lineAfterRenewal(
  line: AgentLine,
  { renewed, serial }: { readonly renewed: string; readonly serial: string },
): AgentLine | undefined {
  if (standingIn(line, renewed) !== 'full') return undefined;
  // the renewal is a repeated one
  if (line.svids.some((svid) => svid.serial === serial)) return line;
  return shortened({ ...line, svids: [...line.svids, { serial, renewed }] });
}

/**
 * The line of the session that an SVID began by recovery. Until the new SVID is used, the recovered
 * one may recover again, because the answer may have been lost.
 */
export function lineAfterRecovery(
  line: AgentLine,
  { recovered, serial }: { readonly recovered: string; readonly serial: string },
): AgentLine | undefined {
  if (standingIn(line, recovered) === 'none') return undefined;
  // a sibling of the new SVID stays until one of them is used
  const siblings = line.inUse === recovered ? line.svids.filter(isUnusedOf(line)) : [];
  const svids = [
    { serial: recovered, renewed: null },
    ...siblings.filter((svid) => svid.serial !== serial),
    { serial, renewed: recovered },
  ];
  return shortened({ spiffeId: line.spiffeId, svids, inUse: recovered, kept: recovered });
}

/**
 * The line of the session that an SVID began whose record was lost with a restored database. All
 * SVIDs of before end with it.
 */
export function lineAfterLoss(
  line: AgentLine,
  { recovered, serial }: { readonly recovered: string; readonly serial: string },
): AgentLine | undefined {
  if (standingIn(line, recovered) !== 'none') return lineAfterRecovery(line, { recovered, serial });
  const svids = [
    { serial: recovered, renewed: null },
    { serial, renewed: recovered },
  ];
  return { spiffeId: line.spiffeId, svids, inUse: recovered, kept: recovered };
}

const isUnusedOf =
  (line: AgentLine) =>
  ({ serial, renewed }: LineSvid): boolean =>
    renewed !== null && serial !== line.inUse && standingIn(line, serial) === 'full';

/**
 * The line after the sync session of an SVID was welcomed. Its siblings and their descendants are
 * removed, and the ancestors of the SVID on the agent's disk too. Undefined: the SVID may not be
 * used.
 *
 * @param kept serial of the SVID on the agent's disk. If it is null, or no ancestor of the used
 *   one, the earlier report counts
 */
export function lineAfterUse(
  line: AgentLine,
  { serial, kept }: { readonly serial: string; readonly kept: string | null },
): AgentLine | undefined {
  if (standingIn(line, serial) !== 'full') return undefined;
  const path = ancestry(line, serial);
  // a lower position is a newer SVID; the kept SVID never moves back
  const positions = [kept, line.kept]
    .map((reported) => (reported === null ? -1 : path.indexOf(reported)))
    .filter((position) => position >= 0);
  const keptAt = positions.length === 0 ? undefined : Math.min(...positions);
  const counted = new Set(keptAt === undefined ? path : path.slice(0, keptAt + 1));
  return {
    ...line,
    svids: line.svids.filter(
      (svid) => counted.has(svid.serial) || ancestry(line, svid.serial).includes(serial),
    ),
    inUse: serial,
    kept: keptAt === undefined ? null : (path[keptAt] ?? null),
  };
}

export const sameLine = (one: AgentLine, other: AgentLine): boolean =>
  one.inUse === other.inUse &&
  one.kept === other.kept &&
  one.svids.length === other.svids.length &&
  one.svids.every(({ serial }, index) => serial === other.svids[index]?.serial);

/** The SVID itself, then the SVIDs from which it was renewed, back to the oldest that counts. */
function ancestry({ svids }: AgentLine, serial: string): readonly string[] {
  const bySerial = new Map(svids.map((svid) => [svid.serial, svid]));
  const path: string[] = [];
  for (
    let svid = bySerial.get(serial);
    svid !== undefined && !path.includes(svid.serial);
    svid = svid.renewed === null ? undefined : bySerial.get(svid.renewed)
  )
    path.push(svid.serial);
  return path;
}

/** Removes the oldest SVID that is neither in use nor the newest. */
function shortened(line: AgentLine): AgentLine {
  if (line.svids.length <= longestLine) return line;
  const oldest = line.svids.find(({ serial }) => serial !== line.inUse);
  return { ...line, svids: line.svids.filter((svid) => svid !== oldest) };
}
