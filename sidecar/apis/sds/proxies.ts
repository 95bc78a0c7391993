import type { Clock } from '../../../src/common/runtime/index.ts';
import type { Session } from '../../local-server/index.ts';
import type { ConsumerRegistry } from '../../ports/consumers.ts';
import { Proxy, type ProxyStream } from './proxy.ts';

/** The proxies on this socket, each one process. Owner of their state. */
export class Proxies {
  readonly #registry: ConsumerRegistry;
  readonly #clock: Clock;
  readonly #proxies = new Map<string, Proxy>();

  constructor(registry: ConsumerRegistry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  /** A stream of this process begins. It ends with `leave`. `again` as in `Proxy.enter`. */
  enter(session: Session, node: string, again: () => void): ProxyStream {
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
    return proxy.enter(again);
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
