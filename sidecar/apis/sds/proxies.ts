import type { Clock } from '../../../src/common/runtime/index.ts';
import type { Session } from '../../local-server/index.ts';
import type { ConsumerRegistry } from '../../ports/consumers.ts';
import { Proxy, type ProxyStream } from './proxy.ts';

const maximumPins = 10_000;

/** The proxies on this socket, each one process. Owner of their state. */
export class Proxies {
  readonly #registry: ConsumerRegistry;
  readonly #clock: Clock;
  readonly #proxies = new Map<string, Proxy>();
  /** The ID that each process got as its default. It outlives its streams, which proxies reopen. */
  readonly #pins = new Map<string, string>();

  constructor(registry: ConsumerRegistry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  /** A stream of this process begins. It ends with `leave`. */
  enter(session: Session, node: string): ProxyStream {
    const holder = holderOf(session);
    const known = this.#proxies.get(holder);
    const proxy =
      known ??
      new Proxy({
        registry: this.#registry,
        clock: this.#clock,
        holder,
        description: descriptionOf(session, node),
        left: () => this.#proxies.delete(holder),
      });
    if (known === undefined) this.#proxies.set(holder, proxy);
    return proxy.enter();
  }

  pinned(session: Session): string | undefined {
    return this.#pins.get(holderOf(session));
  }

  /** Fixes the default of a process, or moves it if the one before is no longer granted. */
  pin(session: Session, spiffeId: string): void {
    const holder = holderOf(session);
    this.#pins.delete(holder);
    this.#pins.set(holder, spiffeId);
    const [oldest] = this.#pins.keys();
    if (this.#pins.size > maximumPins && oldest !== undefined) this.#pins.delete(oldest);
  }
}

const holderOf = ({ connection }: Session): string =>
  `${connection.pid} ${connection.peer?.image.startTime ?? ''}`;

function descriptionOf({ connection }: Session, node: string): string {
  const program = connection.peer?.image.program;
  return [
    `SDS pid ${connection.pid} uid ${connection.uid}`,
    ...(program === undefined ? [] : [program]),
    ...(node === '' ? [] : [`node ${JSON.stringify(node)}`]),
  ].join(' ');
}
