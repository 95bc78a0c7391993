import { DatabaseSync } from 'node:sqlite';
import { patienceMs } from '../test/support/until.ts';
import type { Breaches } from './drill.ts';
import type { Received } from './load.ts';

interface Row {
  readonly serial: string;
  readonly state: string;
  readonly created_at_ms: number;
  readonly certificate_der: Uint8Array | null;
}

/**
 * Reads the server's record from its file, beside the running server, and compares it with what
 * callers hold.
 */
export class RecordCheck {
  readonly #path: string;
  readonly #breaches: Breaches;
  readonly #abandoned = new Set<string>();
  readonly #auditIssued = new Set<string>();
  #auditSequence = 0;
  #checked = 0;

  constructor(path: string, breaches: Breaches) {
    this.#path = path;
    this.#breaches = breaches;
  }

  get abandoned(): ReadonlySet<string> {
    return this.#abandoned;
  }

  get comparisons(): number {
    return this.#checked;
  }

  /**
   * `unfinishedBeforeMs`: intents older than this (the last start) must have been settled by it.
   * What was received before the call must be in the file; `what` names the moment in a breach.
   */
  check(
    received: readonly Received[],
    what: string,
    unfinishedBeforeMs?: number,
  ): { readonly issued: number; readonly abandoned: number; readonly withheld: number } {
    const database = new DatabaseSync(this.#path, { readOnly: true, timeout: patienceMs });
    try {
      this.#checkReceived(database, received, what);
      this.#readAudit(database);
      this.#checkUnissued(database, what, unfinishedBeforeMs);
      for (const { serial } of received)
        this.#breaches.expect(
          this.#auditIssued.has(serial),
          `${what}: a released certificate has no audit record`,
        );
      const doubled = database
        .prepare(
          "SELECT count(*) AS n FROM (SELECT 1 FROM certificates WHERE state = 'issued' AND " +
            "request_id <> '' GROUP BY requester, request_id, public_key_sha256 HAVING " +
            'count(*) > 1)',
        )
        .get() as { n: number };
      this.#breaches.expect(doubled.n === 0, `${what}: one request led to two certificates`);
      const count = (wanted: string): number =>
        (
          database
            .prepare('SELECT count(*) AS n FROM certificates WHERE state = ?')
            .get(wanted) as { n: number }
        ).n;
      return {
        issued: count('issued'),
        abandoned: count('abandoned'),
        withheld: count('withheld'),
      };
    } finally {
      database.close();
    }
  }

  /** Every certificate that a caller received is on record as issued, with the same bytes. */
  #checkReceived(database: DatabaseSync, received: readonly Received[], what: string): void {
    const find = database.prepare(
      'SELECT state, certificate_der FROM certificates WHERE serial = ?',
    );
    for (const { serial, der } of received) {
      const row = find.get(Buffer.from(serial, 'hex')) as unknown as Row | undefined;
      this.#checked += 1;
      if (row === undefined) this.#breaches.add(`${what}: a released certificate is not on record`);
      else if (row.state !== 'issued')
        this.#breaches.add(`${what}: a released certificate is recorded as ${row.state}`);
      else
        this.#breaches.expect(
          row.certificate_der !== null && Buffer.from(row.certificate_der).equals(der),
          `${what}: a released certificate is recorded with other bytes`,
        );
    }
  }

  /** Old intents are abandoned, and what was abandoned once stays so. */
  #checkUnissued(
    database: DatabaseSync,
    what: string,
    unfinishedBeforeMs: number | undefined,
  ): void {
    const unissued = database
      .prepare(
        'SELECT lower(hex(serial)) AS serial, state, created_at_ms FROM certificates WHERE ' +
          "state <> 'issued' AND kind <> 'authority'",
      )
      .all() as unknown as Row[];
    const present = new Set<string>();
    for (const row of unissued) {
      if (row.state === 'intent')
        this.#breaches.expect(
          unfinishedBeforeMs === undefined || row.created_at_ms >= unfinishedBeforeMs,
          `${what}: an intent from before the restart is not listed as abandoned`,
        );
      if (row.state === 'abandoned') {
        present.add(row.serial);
        this.#abandoned.add(row.serial);
      }
    }
    const state = database.prepare('SELECT state FROM certificates WHERE serial = ?');
    for (const serial of this.#abandoned) {
      if (!present.has(serial))
        this.#breaches.add(
          `${what}: an abandoned certificate is now ` +
            `${(state.get(Buffer.from(serial, 'hex')) as { state?: string } | undefined)?.state ?? 'gone'}`,
        );
      this.#breaches.expect(
        !this.#auditIssued.has(serial),
        `${what}: an abandoned certificate has an audit record of its issuance`,
      );
    }
  }

  /**
   * In the order of the record: the audit sequence of an issuance, and of the first record of a
   * kind about a subject.
   */
  sequences(
    serials: readonly string[],
    act: { readonly kind: string; readonly subject: string },
  ): {
    readonly act: number | undefined;
    readonly issued: ReadonlyMap<string, number>;
    readonly withheld: ReadonlySet<string>;
  } {
    const database = new DatabaseSync(this.#path, { readOnly: true, timeout: patienceMs });
    try {
      const found = database
        .prepare(
          'SELECT sequence FROM audit WHERE kind = ? AND subject = ? ORDER BY sequence LIMIT 1',
        )
        .get(act.kind, act.subject) as { sequence: number } | undefined;
      const issued = new Map<string, number>();
      const bySubject = database
        .prepare(
          "SELECT sequence, canonical FROM audit WHERE kind = 'certificate.issued' ORDER BY sequence",
        )
        .all() as { sequence: number; canonical: Uint8Array }[];
      const wanted = new Set(serials);
      for (const { sequence, canonical } of bySubject) {
        const serial = serialOf(canonical);
        if (serial !== undefined && wanted.has(serial)) issued.set(serial, sequence);
      }
      const withheld = (
        database
          .prepare("SELECT lower(hex(serial)) AS serial FROM certificates WHERE state = 'withheld'")
          .all() as { serial: string }[]
      ).map(({ serial }) => serial);
      return { act: found?.sequence, issued, withheld: new Set(withheld) };
    } finally {
      database.close();
    }
  }

  #readAudit(database: DatabaseSync): void {
    const rows = database
      .prepare('SELECT sequence, kind, canonical FROM audit WHERE sequence > ? ORDER BY sequence')
      .all(this.#auditSequence) as { sequence: number; kind: string; canonical: Uint8Array }[];
    for (const { sequence, kind, canonical } of rows) {
      this.#auditSequence = sequence;
      const serial = kind === 'certificate.issued' ? serialOf(canonical) : undefined;
      if (serial !== undefined) this.#auditIssued.add(serial);
    }
  }
}

const serialOf = (canonical: Uint8Array): string | undefined => {
  const text = Buffer.from(canonical).toString('utf8');
  const { detail } = JSON.parse(text.slice(text.indexOf('\n') + 1)) as {
    detail: { serial?: string };
  };
  return detail.serial;
};
