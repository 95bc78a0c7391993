import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Crowd } from './crowd.ts';
import { holderOf } from './peer-address.ts';

interface Slot {
  readonly socket: Socket;
  readonly holder: string;
}

/**
 * Limits the connections of a listener. Owner of the set of open connections.
 *
 * A connection is *unfinished* until a whole request has arrived, and again after its answer. When
 * all slots are taken, the holder of the most unfinished connections loses its oldest, so that a
 * client which sends nothing, or sends slowly, keeps nobody out. A new connection is refused only
 * if every slot has a whole request under way.
 */
export class ConnectionSlots {
  readonly #maximum: number;
  readonly #onRefused: (reason: 'evicted' | 'full') => void;
  readonly #slots = new Map<string, Slot>();
  /** In the order in which they became unfinished. */
  readonly #unfinished = new Crowd<Slot>();

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
    this.#unfinished.add(slot, slot.holder);
    socket.once('close', () => this.#remove(key, slot));
  }

  /**
   * Call it when a whole request has arrived. `socket` may be the TLS socket above the one that was
   * added.
   */
  requestComplete(socket: Socket): void {
    const slot = this.#slotOf(socket);
    if (slot !== undefined) this.#unfinished.delete(slot);
  }

  /** Called when the answer is sent, or when nobody waits for it any more. */
  requestOver(socket: Socket): void {
    const slot = this.#slotOf(socket);
    if (slot !== undefined && this.#slots.get(keyOf(socket) ?? '') === slot)
      this.#unfinished.add(slot, slot.holder);
  }

  /** Ends every connection without a whole request. */
  destroyUnfinished(): void {
    for (const { socket } of this.#unfinished.items()) socket.destroy();
  }

  #slotOf(socket: Socket): Slot | undefined {
    const key = keyOf(socket);
    return key === undefined ? undefined : this.#slots.get(key);
  }

  #makeRoom(newcomer: string): boolean {
    const victim = this.#unfinished.victim(newcomer);
    if (victim === undefined) return false;
    this.#onRefused('evicted');
    this.#remove(keyOf(victim.socket), victim);
    victim.socket.destroy();
    return true;
  }

  #remove(key: string | undefined, slot: Slot): void {
    this.#unfinished.delete(slot);
    if (key !== undefined && this.#slots.get(key) === slot) this.#slots.delete(key);
  }
}

/**
 * Identifies a connection of a listener by the address and port of its peer, which a TLS socket has
 * as well.
 */
const keyOf = ({ remoteAddress, remotePort }: Socket): string | undefined =>
  remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort}`;

/**
 * Limits the connections of a server whose requests have no bodies, so that each is whole with its
 * head.
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
