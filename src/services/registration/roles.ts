import type { Role } from '../../domain/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface Roles {
  put(
    caller: OperatorCaller,
    role: {
      readonly name: string;
      readonly verbs: readonly string[];
      readonly prefixes: readonly string[];
      readonly members: readonly string[];
    },
    signal?: AbortSignal,
  ): Promise<Role>;
  list(caller: OperatorCaller, page: PageRequest): Promise<Page<Role>>;
  delete(caller: OperatorCaller, name: string, signal?: AbortSignal): Promise<Role>;
}
