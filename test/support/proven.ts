import {
  loggedObject,
  type LoggedValues,
  type LogObjectKind,
  type Proven,
} from '../../src/domain/index.ts';
import { Objects } from '../../src/ledger/objects.ts';

/** The value as a ledger proves it that has a record of it and of nothing else. */
export function provenAlone<Kind extends LogObjectKind>(
  kind: Kind,
  value: LoggedValues[Kind],
): Proven<LoggedValues[Kind]> {
  const objects = new Objects();
  objects.apply({ ...loggedObject(kind, value), act: 'noun.verb', subject: 's', detail: {} }, 1);
  return objects.require(kind, value);
}
