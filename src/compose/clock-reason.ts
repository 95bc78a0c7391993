import type { ClockGuard } from '../issuance/rotation/index.ts';
import type { Sync } from '../services/index.ts';

/**
 * Why a server whose wall clock is wrong is not ready: what it signs begins and ends at the wrong
 * time. The audit log has later records, or most of the connected agents have another time. A clock
 * that jumped, or is unproven after a start of the machine, may be right: it stops what rests on the
 * passing of time, and nothing else.
 */
export function clockReason(
  guard: Pick<ClockGuard, 'standing' | 'jumpedSeconds'>,
  sync: Pick<Sync, 'aheadOfAgents'>,
  toleranceSeconds: number,
): string | undefined {
  if (guard.standing() === 'behind-log')
    return (
      `the wall clock of this server is ${Math.abs(guard.jumpedSeconds())} s behind its audit ` +
      'log: set it right (date -u)'
    );
  const ahead = sync.aheadOfAgents(toleranceSeconds);
  if (ahead === 0) return undefined;
  return (
    `the wall clock of this server is ${Math.abs(ahead)} s ` +
    `${ahead > 0 ? 'ahead of' : 'behind'} those of most connected agents: compare it with ` +
    'another machine (date -u), and set the wrong ones right'
  );
}
