/**
 * The class of whoever asks for a certificate or token. It comes from the inventory record of the
 * certificate that was presented, or from the way in, never from a name.
 *
 * - `node`: a node whose attestation was accepted just now; it has no certificate yet.
 * - `local`: the admin socket.
 * - `server`: this server itself.
 */
export const requesterClasses = [
  'node',
  'agent',
  'workload',
  'delegate',
  'admin',
  'local',
  'server',
] as const;
export type RequesterClass = (typeof requesterClasses)[number];

export interface Requester {
  readonly class: RequesterClass;
  /** As it stands in records: a SPIFFE ID, `uid:N` on the local socket, or `server`. */
  readonly name: string;
}

export const serverRequester: Requester = { class: 'server', name: 'server' };
