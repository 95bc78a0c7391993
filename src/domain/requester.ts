/**
 * The class of a requester of a certificate or token. It comes from the inventory record of the
 * presented certificate, or from the kind of access, never from a name.
 *
 * - `node`: a node whose attestation was just accepted; it has no certificate yet.
 * - `token`: the holder of a token that another issuer signed.
 * - `acme`: the holder of the key of an ACME account.
 * - `local`: the admin socket.
 * - `server`: this server itself.
 */
export const requesterClasses = [
  'node',
  'agent',
  'workload',
  'delegate',
  'token',
  'acme',
  'admin',
  'local',
  'server',
] as const;
export type RequesterClass = (typeof requesterClasses)[number];

export interface Requester {
  readonly class: RequesterClass;
  /**
   * The name in records: a SPIFFE ID, `uid:N` on the local socket, or `server`. For a token the ID
   * of its issuer, or of a proxy of Linkerd `kubernetes:CLUSTER/NAMESPACE/ACCOUNT`. For ACME
   * `acme:ACCOUNT`.
   */
  readonly name: string;
}

/**
 * The holder of a certificate that the server presents itself: its own, or that of a front for the
 * clients of a control plane.
 */
export const serverHolder = (front?: string): string =>
  front === undefined ? 'server' : `server:${front}`;
export const isServerHolder = (holder: string): boolean =>
  holder === 'server' || holder.startsWith('server:');

export const serverRequester: Requester = { class: 'server', name: 'server' };
