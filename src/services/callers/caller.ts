import type { Requester } from '../../domain/index.ts';

/** What a caller may be, for the table of RPCs; deny by default. */
export const callerClasses = [
  'anonymous',
  'agent',
  'workload',
  'delegate',
  'admin',
  'local',
] as const;
export type CallerClass = (typeof callerClasses)[number];

/** Without a certificate: may attest, and nothing else. */
export interface AnonymousCaller {
  readonly class: 'anonymous';
  /** Network address, for logs. */
  readonly peer: string;
}

/**
 * On the admin socket, told by SO_PEERCRED; made by `Callers.local`, which refuses every other uid.
 * May do everything.
 */
export interface LocalCaller {
  readonly class: 'local';
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

/**
 * What all callers with a certificate of ours have in common. All of it comes from the inventory
 * record, nothing from a name.
 */
export interface CertificateIdentity {
  readonly spiffeId: string;
  /** Lower-case hex, as in the inventory. */
  readonly serial: string;
  readonly notAfter: number;
  readonly authorityId: string;
  readonly entryId: string | null;
  readonly peer: string;
}

export interface AgentCaller extends CertificateIdentity {
  readonly class: 'agent';
  readonly kind: 'agent';
  /** The session that its certificate belongs to. */
  readonly generation: number;
}

/**
 * A workload without a delegation, or the holder of a `delegated` or `server` certificate: it may
 * call nothing of ours.
 */
export interface WorkloadCaller extends CertificateIdentity {
  readonly class: 'workload';
  readonly kind: 'workload' | 'delegated' | 'server';
}

/**
 * A certificate of kind `workload` whose ID has an active delegation. Never one of kind
 * `delegated`.
 */
export interface DelegateCaller extends CertificateIdentity {
  readonly class: 'delegate';
  readonly kind: 'workload';
}

export interface AdminCaller extends CertificateIdentity {
  readonly class: 'admin';
  readonly kind: 'admin';
}

export type CertificateCaller = AgentCaller | WorkloadCaller | DelegateCaller | AdminCaller;
export type OperatorCaller = LocalCaller | AdminCaller;
export type Caller = AnonymousCaller | LocalCaller | CertificateCaller;

/** The caller as issuance and its policy know it. */
export const requesterOf = (caller: Exclude<Caller, AnonymousCaller>): Requester => ({
  class: caller.class,
  name: actorOf(caller),
});

/** The name under which a caller stands in the audit record and in `createdBy`. */
export function actorOf(caller: Caller): string {
  switch (caller.class) {
    case 'anonymous':
      return 'anonymous';
    case 'local':
      return `uid:${caller.uid}`;
    default:
      return caller.spiffeId;
  }
}
