import { DatabaseSync } from 'node:sqlite';
import { silentLogger, systemClock } from '../src/common/runtime/index.ts';
import { authorityStates, isLegalTransition, type AuthorityState } from '../src/domain/index.ts';
import { openTokenAdmin } from '../src/hsm/index.ts';
import type { TestTokens } from '../test/support/softhsm.ts';
import { patienceMs } from '../test/support/until.ts';
import type { Breaches } from './drill.ts';

export interface AuthorityRow {
  readonly id: string;
  readonly kind: string;
  readonly state: AuthorityState;
  readonly token: 'root' | 'issuing';
  readonly cka_id: string;
}

const rotated = ['root', 'issuing', 'jwt'] as const;

/**
 * Reads rotations from the database beside the server: the authorities, and each transition in the
 * order of its record.
 */
export class RotationRecord {
  readonly #databasePath: string;
  readonly #tokens: TestTokens;
  readonly #breaches: Breaches;

  constructor(
    world: { readonly databasePath: string; readonly tokens: TestTokens },
    breaches: Breaches,
  ) {
    this.#databasePath = world.databasePath;
    this.#tokens = world.tokens;
    this.#breaches = breaches;
  }

  authorities(): readonly AuthorityRow[] {
    return this.#read(
      (database) =>
        database
          .prepare(
            "SELECT id, kind, state, token, cka_id FROM authorities WHERE kind <> 'log' ORDER BY created_at, id",
          )
          .all() as unknown as AuthorityRow[],
    );
  }

  /**
   * Checks that one of each kind signs, nothing is half-made, and at most one of each kind is new.
   */
  expectOneOfEach(what: string, before: readonly AuthorityRow[]): void {
    const now = this.authorities();
    for (const kind of rotated) {
      const states = now.filter((each) => each.kind === kind).map(({ state }) => state);
      this.#breaches.expect(
        states.filter((state) => state === 'active').length === 1,
        `${what}: ${kind} authorities are ${states.join(', ')}`,
      );
      this.#breaches.expect(
        !states.some((state) => ['preparing', 'prepared', 'published'].includes(state)),
        `${what}: ${kind} authorities are ${states.join(', ')}`,
      );
      const grown = states.length - before.filter((each) => each.kind === kind).length;
      this.#breaches.expect(grown <= 1, `${what}: ${grown} new ${kind} authorities`);
    }
  }

  /**
   * Checks that each authority's path is legal with each step once, that one of its kind signs all
   * the time, and that each operation is opened and done once.
   */
  checkHistories(): { readonly authorities: number; readonly transitions: number } {
    const records = this.#read(
      (database) =>
        database
          .prepare(
            "SELECT kind, subject FROM audit WHERE kind LIKE 'authority.%' OR kind LIKE 'rotation.%' ORDER BY sequence",
          )
          .all() as unknown as { kind: string; subject: string }[],
    );
    const kinds = new Map(this.authorities().map(({ id, kind }) => [id, kind]));
    const states = new Map<string, AuthorityState>();
    const operations = new Map<string, string>();
    const signing = new Map<string, number>();
    let transitions = 0;
    for (const { kind, subject } of records) {
      const [noun, act] = kind.split('.') as [string, string];
      if (noun === 'rotation') {
        const key = `${subject} ${act}`;
        this.#breaches.expect(
          operations.get(key) === undefined || act === 'continued',
          `an operation is ${act} twice`,
        );
        operations.set(key, act);
        continue;
      }
      const of = kinds.get(subject);
      const to = authorityStates.find((state) => state === (act === 'prepare' ? 'preparing' : act));
      if (of === undefined || to === undefined) continue;
      const before = states.get(subject);
      this.#breaches.expect(
        before === undefined ? to === 'preparing' : isLegalTransition(before, to),
        `a ${of} authority went from ${before ?? 'nothing'} to ${to}`,
      );
      states.set(subject, to);
      transitions += 1;
      if (to === 'active') signing.set(of, (signing.get(of) ?? 0) + 1);
      if (before === 'active') {
        signing.set(of, (signing.get(of) ?? 0) - 1);
        this.#breaches.expect(
          (signing.get(of) ?? 0) > 0,
          `no ${of} authority signed after one of them became ${to}`,
        );
      }
    }
    for (const { id, kind, state } of this.authorities())
      this.#breaches.expect(
        states.get(id) === state,
        `a ${kind} authority is ${state}, and its records say ${states.get(id)}`,
      );
    return { authorities: states.size, transitions };
  }

  /** Checks that the tokens have exactly the keys of the recorded authorities, each once. */
  async checkKeys(): Promise<void> {
    const { modulePath, environment, tokens } = this.#tokens;
    const known = this.authorities();
    for (const role of ['root', 'issuing'] as const) {
      await using token = await openTokenAdmin(
        { modulePath, environment, tokenLabel: tokens[role].label, pin: tokens[role].pin },
        { execPath: process.execPath, clock: systemClock, logger: silentLogger },
      );
      const held = (await token.listKeys())
        .filter(({ label }) => !label.includes('/log/'))
        .map(({ ckaId }) => ckaId)
        .sort();
      const recorded = known
        .filter((each) => each.token === role)
        .map((each) => each.cka_id)
        .sort();
      this.#breaches.expect(
        held.length === recorded.length && held.every((ckaId, index) => ckaId === recorded[index]),
        `the ${role} token holds ${held.length} keys, ${recorded.length} are on record`,
      );
    }
  }

  #read<T>(query: (database: DatabaseSync) => T): T {
    const database = new DatabaseSync(this.#databasePath, { readOnly: true, timeout: patienceMs });
    try {
      return query(database);
    } finally {
      database.close();
    }
  }
}
