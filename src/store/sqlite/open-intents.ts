import type { Engine } from './engine.ts';

/** What the end of an intent needs of its row. */
export interface OpenIntent {
  readonly replaces: Uint8Array | null;
  readonly holder: string;
}

/**
 * The intents that this process has recorded and not ended. Owner of that memory: with it an end is
 * one statement that returns nothing, since RETURNING doubles what an UPDATE costs. After a rollback
 * nothing is remembered, and `take` reads the row.
 */
export class OpenIntents {
  readonly #bySerial = new Map<string, OpenIntent>();
  readonly #read: (serial: Uint8Array) => OpenIntent | undefined;

  constructor(engine: Engine) {
    const row = engine.statement<{ serial: Uint8Array }>()((query, slot) =>
      query
        .selectFrom('certificates')
        .select(['replaces', 'holder'])
        .where('serial', '=', slot('serial')),
    );
    this.#read = (serial) => row.get({ serial });
    engine.onRollback(() => this.#bySerial.clear());
  }

  add(serial: string, intent: OpenIntent): void {
    this.#bySerial.set(serial, intent);
  }

  /** Forgets it. Undefined: there is no such row. */
  take(serial: string, key: Uint8Array): OpenIntent | undefined {
    const open = this.#bySerial.get(serial);
    if (open === undefined) return this.#read(key);
    this.#bySerial.delete(serial);
    return open;
  }
}
