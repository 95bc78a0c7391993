import type { Clock } from '../../common/runtime/index.ts';
import type { Access } from '../callers/access.ts';
import type { RefusalLog } from '../callers/refusal-log.ts';
import type { ServiceSettings } from '../settings.ts';

/** What every service of inspection uses. */
export interface InspectionDependencies {
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly settings: ServiceSettings;
}
