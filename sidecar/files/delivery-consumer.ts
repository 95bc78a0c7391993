import type { Clock } from '../../src/common/runtime/index.ts';
import type { ConsumerHandle, ConsumerRegistry } from '../ports/consumers.ts';
import type { DeliveredSet, DeliveryRecord } from './delivery-record.ts';
import { currentOf } from './delivery-record.ts';
import type { FileTarget } from './target.ts';

/**
 * The line of one target among the consumers of this agent: what its server holds, as far as that is
 * known. A handshake proves the leaf. The roots are proven only where the driver knows what was
 * loaded, or where each listener names them. Otherwise they count once the last certificate has
 * ended that was served with other roots. A set for names has no line: its server may be asked by
 * anybody, nobody knows whom they trust, and no authority of the mesh waits for them. Owner of the
 * line.
 */
export class DeliveryConsumer {
  readonly #registry: ConsumerRegistry;
  readonly #clock: Clock;
  readonly #target: Pick<FileTarget, 'name' | 'directory'>;
  #line: { readonly spiffeId: string; readonly handle: ConsumerHandle } | undefined;

  constructor(
    registry: ConsumerRegistry,
    clock: Clock,
    target: Pick<FileTarget, 'name' | 'directory'>,
  ) {
    this.#registry = registry;
    this.#clock = clock;
    this.#target = target;
  }

  /** Call it before `current` names the set: from then on the server may have it. */
  giving(set: DeliveredSet): void {
    // until it is shown, the server has what it had
    if (set.forNames !== undefined) return;
    const handle = this.#handle(set);
    handle.given(set.notAfter);
    handle.pending(digestOf(set));
  }

  /** What the server was given before this process, from the journal. */
  restored(record: DeliveryRecord): void {
    const { served, candidate, swapped } = record;
    for (const set of [served, swapped ? candidate : undefined])
      if (set !== undefined && isOfMesh(set) && set.notAfter >= this.#clock.now())
        this.#handle(set).given(set.notAfter);
  }

  /** Nobody can tell at the moment what the server has. */
  uncertain(record: DeliveryRecord, reason: string): void {
    const set = currentOf(record);
    if (set === undefined || !isOfMesh(set) || set.notAfter < this.#clock.now()) return;
    this.#handle(set).unprovable(digestOf(set), reason);
  }

  /** The server was shown to have the served set. Call it again as time passes. */
  serves(record: DeliveryRecord): void {
    const { served, trust, otherRootsUntil } = record;
    if (served === undefined) return;
    if (!isOfMesh(served)) return this.#ends();
    if (trust === 'proven') {
      const handle = this.#handle(served);
      handle.capable([]);
      handle.confirmed(digestOf(served));
      return;
    }
    const waits = otherRootsUntil >= this.#clock.now();
    if (trust === 'unprovable' && !waits) {
      // it counts no longer, as others of which nobody can tell what they trust
      return this.#ends();
    }
    const handle = this.#handle(served);
    handle.capable(['inferred']);
    if (waits) handle.unprovable(digestOf(served), reasonOf(trust, otherRootsUntil));
    else handle.confirmed(digestOf(served));
  }

  #ends(): void {
    this.#line?.handle.keepsNothing();
    this.close();
  }

  close(): void {
    this.#line?.handle.remove();
    this.#line = undefined;
  }

  #handle({ spiffeId }: DeliveredSet): ConsumerHandle {
    if (this.#line?.spiffeId === spiffeId) return this.#line.handle;
    this.#line?.handle.remove();
    const { name, directory } = this.#target;
    const handle = this.#registry.register({
      kind: 'files',
      spiffeId,
      description: `file target ${name} in ${directory}`,
      holder: `target ${name}`,
      takes: 'roots',
    });
    this.#line = { spiffeId, handle };
    return handle;
  }
}

const isOfMesh = ({ forNames }: DeliveredSet): boolean => forNames === undefined;

const digestOf = ({ authoritySetDigest }: DeliveredSet): Buffer =>
  Buffer.from(authoritySetDigest, 'hex');

const reasonOf = (trust: 'inferred' | 'unprovable', until: number): string =>
  `${
    trust === 'inferred'
      ? 'the handshakes show the new certificate, and do not tell whom the server trusts'
      : 'nothing shows what the server loaded'
  }; counts until ${new Date(until * 1000).toISOString()}, when the certificate ends that it had`;
