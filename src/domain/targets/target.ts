/** The states of a file target; sidecar/ports/file-targets.ts says what each means. */
export const targetStates = [
  'waiting',
  'staged',
  'applying',
  'proving',
  'proven',
  'applied',
  'rolling-back',
  'rolled-back',
  'failed',
] as const;
export type TargetState = (typeof targetStates)[number];

/** A set of certificates on the agent's disk. */
export interface TargetSet {
  /** `<n>-<serial>` */
  readonly name: string;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** The one that is served. */
  readonly current: boolean;
}

/** The part of a rollout in which a target got its turn. */
export type RolloutPart = 'canary' | 'rest';

/** How the targets of a group change, as an agent has it configured for one of them. */
export interface TargetRollout {
  readonly group: string;
  /** 0 to 1 */
  readonly canaryShare: number;
  readonly observeSeconds: number;
}

/** A file target as its agent reports it. Nothing in it grants anything. */
export interface ReportedTarget {
  readonly name: string;
  readonly driver: string;
  readonly state: TargetState;
  /** Code and text of what stands in the way; empty in good order. */
  readonly reason: string;
  readonly next: string;
  readonly spiffeId: string;
  /** DNS names and addresses of a certificate for names. Empty: it has an identity. */
  readonly names: readonly string[];
  /** Unix seconds, by the clock of the node. */
  readonly since: number;
  /** Oldest first. */
  readonly sets: readonly TargetSet[];
  readonly rollout: TargetRollout | undefined;
  /** What the set waits for that was staged last. */
  readonly waitsFor: 'nothing' | 'turn' | 'hand';
  /** The last turn that this process of the agent got from a server. */
  readonly turn: { readonly set: string; readonly part: RolloutPart } | undefined;
}

/** The set that was staged last. Empty: none. */
export const newestSet = ({ sets }: Pick<ReportedTarget, 'sets'>): string =>
  sets.at(-1)?.name ?? '';

/** The set that is served. Empty: none. */
export const servedSet = ({ sets }: Pick<ReportedTarget, 'sets'>): string =>
  sets.find(({ current }) => current)?.name ?? '';
