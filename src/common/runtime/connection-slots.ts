import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { holderOf } from './peer-address.ts';

interface Slot {
  readonly socket: Socket;
  readonly holder: string;
}

/**
 * Bounds the connections of a listener. Owner of the set of its open ones.
 *
 * A connection is *unfinished* until a whole request has come in, and again once that is answered.
 * When all slots are taken, the holder of most unfinished ones loses its oldest, so that who
 * connects and says nothing, or speaks slowly, keeps nobody out. Only where every slot has a whole
 * request under way the newcomer is refused.
 */
export class ConnectionSlots {
  readonly #maximum: number;
  readonly #onRefused: (reason: 'evicted' | 'full') => void;
  readonly #slots = new Map<string, Slot>();
  /** In the order in which they became unfinished. */
  readonly #unfinished = new Set<Slot>();

  constructor(maximum: number, onRefused: (reason: 'evicted' | 'full') => void) {
    this.#maximum = maximum;
    this.#onRefused = onRefused;
  }

  get size(): number {
    return this.#slots.size;
  }

  /** Takes a slot for a connection that was just accepted, or destroys it. */
  add(socket: Socket): void {
    const key = keyOf(socket);
    if (key === undefined) {
      socket.destroy();
      return;
    }
    const slot: Slot = { socket, holder: holderOf(socket.remoteAddress ?? '') };
    if (this.#slots.size >= this.#maximum && !this.#makeRoom(slot.holder)) {
      this.#onRefused('full');
      socket.destroy();
      return;
    }
    this.#slots.set(key, slot);
    this.#unfinished.add(slot);
    socket.once('close', () => this.#remove(key, slot));
  }

  /** A whole request has come in. `socket` may be the TLS socket above the one that was added. */
  requestComplete(socket: Socket): void {
    const slot = this.#slotOf(socket);
    if (slot !== undefined) this.#unfinished.delete(slot);
  }

  /** Its answer is out, or nobody waits for it any more. */
  requestOver(socket: Socket): void {
    const slot = this.#slotOf(socket);
    if (slot !== undefined && this.#slots.get(keyOf(socket) ?? '') === slot)
      this.#unfinished.add(slot);
  }

  /** Ends every connection without a whole request. */
  destroyUnfinished(): void {
    for (const { socket } of this.#unfinished) socket.destroy();
  }

  #slotOf(socket: Socket): Slot | undefined {
    const key = keyOf(socket);
    return key === undefined ? undefined : this.#slots.get(key);
  }

  #makeRoom(newcomer: string): boolean {
    const held = new Map<string, { count: number; readonly oldest: Slot }>();
    for (const slot of this.#unfinished) {
      const of = held.get(slot.holder);
      if (of === undefined) held.set(slot.holder, { count: 1, oldest: slot });
      else of.count += 1;
    }
    const mine = held.get(newcomer);
    // the newcomer counts: it would hold one more
    if (mine !== undefined) mine.count += 1;
    let victim: { readonly count: number; readonly oldest: Slot } | undefined;
    for (const of of held.values())
      if (victim === undefined || of.count > victim.count) victim = of;
    if (victim === undefined) return false;
    const { socket } = victim.oldest;
    this.#onRefused('evicted');
    this.#remove(keyOf(socket), victim.oldest);
    socket.destroy();
    return true;
  }

  #remove(key: string | undefined, slot: Slot): void {
    this.#unfinished.delete(slot);
    if (key !== undefined && this.#slots.get(key) === slot) this.#slots.delete(key);
  }
}

/** One listener has one connection a peer's address and port; a TLS socket shows the same. */
const keyOf = ({ remoteAddress, remotePort }: Socket): string | undefined =>
  remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort}`;

/**
 * Bounds the connections of a server whose requests have no bodies: each is whole with its head.
 */
export function boundConnections(
  server: Server,
  maximum: number,
  onRefused: (reason: 'evicted' | 'full') => void,
): ConnectionSlots {
  const slots = new ConnectionSlots(maximum, onRefused);
  server.prependListener('connection', (socket: Socket) => slots.add(socket));
  server.prependListener('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    slots.requestComplete(socket);
    response.once('close', () => slots.requestOver(socket));
  });
  return slots;
}
