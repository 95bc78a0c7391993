import { DatabaseSync } from 'node:sqlite';
import type { Breaches } from '../drill.ts';

interface OrderRow {
  readonly id: string;
  readonly stage: string;
  readonly serial: Uint8Array | null;
  readonly authorizations: string;
}

interface CertificateRow {
  readonly serial: Uint8Array;
  readonly state: string;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Reads what the database says of orders and their certificates. */
export class OrderRecord {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** How far the newest order is: its stage, that of its authorizations, and of its certificates. */
  reached(): string {
    return this.#read((orders, certificates) => {
      const order = orders.at(-1);
      if (order === undefined) return 'no order';
      const made = certificates(order.id).map(({ state }) => state);
      if (order.stage !== 'open')
        return `${order.stage}${made.length === 0 ? '' : `, certificate ${made.join(', ')}`}`;
      const [authorization] = JSON.parse(order.authorizations) as readonly [
        { status: string; challenges: readonly { status: string }[] },
      ];
      const challenges = authorization.challenges.map(({ status }) => status);
      return challenges.includes('processing') ? 'validating' : authorization.status;
    });
  }

  /**
   * Compares every order with its certificates: an issued order has the one that it names, and no
   * order has two. Returns the number of issued orders.
   *
   * @param received serials that clients hold
   */
  check(received: ReadonlySet<string>, breaches: Breaches): number {
    return this.#read((orders, certificates) => {
      const named = new Set<string>();
      let issued = 0;
      for (const { id, stage, serial } of orders) {
        const own = certificates(id).filter(({ state }) => state === 'issued');
        breaches.expect(own.length <= 1, 'an order has two certificates');
        breaches.expect(stage !== 'failed', 'an order failed through no fault of its client');
        if (stage !== 'issued') continue;
        issued += 1;
        const [certificate] = own;
        breaches.expect(
          certificate !== undefined && serial !== null && hex(certificate.serial) === hex(serial),
          'an issued order names another certificate than the one that was issued for it',
        );
        if (serial !== null) named.add(hex(serial));
      }
      for (const serial of received)
        breaches.expect(named.has(serial), 'a client holds a certificate that no order names');
      return issued;
    });
  }

  orders(): number {
    return this.#read((orders) => orders.length);
  }

  /** Orders whose certificate is still to be issued. */
  finalizing(): number {
    return this.#read((orders) => orders.filter(({ stage }) => stage === 'finalizing').length);
  }

  #read<T>(
    look: (
      orders: readonly OrderRow[],
      certificates: (orderId: string) => readonly CertificateRow[],
    ) => T,
  ): T {
    const database = new DatabaseSync(this.#path, { readOnly: true, timeout: 5_000 });
    try {
      const orders = database
        .prepare('SELECT id, stage, serial, authorizations FROM acme_orders ORDER BY rowid')
        .all() as unknown as readonly OrderRow[];
      const byRequest = database.prepare(
        'SELECT serial, state FROM certificates WHERE request_id = ? ORDER BY sequence',
      );
      return look(
        orders,
        (orderId) => byRequest.all(orderId) as unknown as readonly CertificateRow[],
      );
    } finally {
      database.close();
    }
  }
}
