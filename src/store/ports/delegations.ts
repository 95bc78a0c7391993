import type { AuditEvent, Delegation } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface DelegationStore {
  create(delegation: Delegation, event: AuditEvent, signal?: AbortSignal): Promise<void>;
  byId(id: string, signal?: AbortSignal): Promise<Delegation | undefined>;
  /** The delegations that are neither revoked nor expired at `now`. */
  activeFor(clientId: string, now: number): Promise<readonly Delegation[]>;
  list(filter: { readonly includeRevoked: boolean }, page: PageRequest): Promise<Page<Delegation>>;
  revoke(id: string, now: number, event: AuditEvent): Promise<Delegation>;
}
