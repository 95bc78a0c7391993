import type { LoggedValues, LogObjectKind, Proven } from '../domain/index.ts';
import { Objects } from './objects.ts';

/**
 * Takes every value for what the log has. For the measurement of what looking costs, and for nothing
 * else.
 */
export class UncheckedObjects extends Objects {
  override requireRow<Kind extends LogObjectKind, Found extends LoggedValues[Kind] | undefined>(
    _kind: Kind,
    _id: string,
    found: Found,
  ): Found {
    return found;
  }

  override sameRow(): boolean {
    return true;
  }

  override prove<Kind extends LogObjectKind>(
    _kind: Kind,
    value: LoggedValues[Kind],
  ): Proven<LoggedValues[Kind]> {
    return value as Proven<LoggedValues[Kind]>;
  }
}
