/** What an attacker does over and over, until it is told to stop. */
export type AttackKind =
  | 'watch'
  | 'tls-silent'
  | 'tls-handshake'
  | 'http-half'
  | 'reflection'
  | 'large-message'
  | 'socket-silent'
  | 'socket-nobody';

export interface AttackOrder {
  readonly kind: AttackKind;
  /** Of the attacked listener: a TCP port, or the path of a Unix socket. */
  readonly at: number | string;
  /** The user that the attacker becomes. Absent: it stays who it is. */
  readonly uid?: number;
}

export type ToAttacker = 'count' | 'stop';

export interface FromAttacker {
  readonly type: 'ready' | 'count' | 'end';
  /** Attempts that were made. */
  readonly tried: number;
  /** Processor time of the attacker since it began. */
  readonly cpuMs: number;
}
