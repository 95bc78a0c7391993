import { Ledger } from './ledger.ts';

/**
 * Takes every row for what the log has. For the measurement of what looking costs, and for nothing
 * else.
 */
export class UncheckedLedger extends Ledger {
  override requireRow(): void {}

  override read<T extends object>(_kind: unknown, _id: string, _text: () => string, object: T): T {
    return object;
  }

  override proven(): boolean {
    return true;
  }

  override require(): void {}
}
