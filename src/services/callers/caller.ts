import type { Requester } from '../../domain/index.ts';

/**
 * The classes of callers, for the table of operations. A class that a row does not list is denied.
 */
export const callerClasses = [
  'anonymous',
  'agent',
  'workload',
  'delegate',
  'admin',
  'local',
] as const;
export type CallerClass = (typeof callerClasses)[number];

/** A caller without a certificate. It may attest, and nothing else. */
export interface AnonymousCaller {
  readonly class: 'anonymous';
  /** Network address, for logs. */
  readonly peer: string;
}

/**
 * A caller on the admin socket, identified by SO_PEERCRED. `Callers.local` makes it and refuses
 * other uids. It has every right.
 */
export interface LocalCaller {
  readonly class: 'local';
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

/**
 * What all callers with a certificate of ours have in common. Everything comes from the inventory
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
  /** The session to which its certificate belongs. */
  readonly generation: number;
}

/**
 * A workload without a delegation, or the holder of a `delegated`, `token` or `server` certificate.
 * It may call nothing of ours, but give back what a token led to.
 */
export interface WorkloadCaller extends CertificateIdentity {
  readonly class: 'workload';
  readonly kind: 'workload' | 'delegated' | 'token' | 'server';
  /** To whom the certificate was issued: for one of an entry, the agent that asked. */
  readonly holder: string;
}

/**
 * The agent that got the certificate of a caller by an entry, in its present session; none, if an
 * operator minted it.
 */
export interface CallerNode {
  readonly spiffeId: string;
  readonly generation: number;
}

/**
 * A caller with a certificate of kind `workload` whose ID has an active delegation. Never one with
 * kind `delegated`.
 */
export interface DelegateCaller extends CertificateIdentity {
  readonly class: 'delegate';
  readonly kind: 'workload';
  readonly node: CallerNode | undefined;
}

export interface AdminCaller extends CertificateIdentity {
  readonly class: 'admin';
  readonly kind: 'admin';
  readonly node: CallerNode | undefined;
}

export type CertificateCaller = AgentCaller | WorkloadCaller | DelegateCaller | AdminCaller;
export type OperatorCaller = LocalCaller | AdminCaller;
export type Caller = AnonymousCaller | LocalCaller | CertificateCaller;

/** The caller in the form that issuance and its policy use. */
export const requesterOf = (caller: Exclude<Caller, AnonymousCaller>): Requester => ({
  class: caller.class,
  name: actorOf(caller),
});

/** The name of a caller in audit records and in `createdBy`. */
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
