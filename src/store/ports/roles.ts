import type { AuditEvent, Role } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface RoleStore {
  put(role: Role, event: AuditEvent, signal?: AbortSignal): Promise<Role>;
  delete(name: string, event: AuditEvent, signal?: AbortSignal): Promise<Role>;
  list(page: PageRequest): Promise<Page<Role>>;
}
