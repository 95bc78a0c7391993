import type { Clock } from '../../../src/common/runtime/index.ts';
import type { Session } from '../../local-server/index.ts';
import type { ConsumerRegistry } from '../../ports/consumers.ts';
import { Proxy, type ProxyStream } from './proxy.ts';

/** Proxies without streams that are remembered. Beyond it the one that ended first is forgotten. */
const maximumGone = 10_000;

/** The proxies on this socket, each one process. Owner of their state. */
export class Proxies {
  readonly #registry: ConsumerRegistry;
  readonly #clock: Clock;
  readonly #proxies = new Map<string, Proxy>();
  /** The holders without streams, in the order in which these ended. */
  readonly #gone = new Set<string>();

  constructor(registry: ConsumerRegistry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  /** A stream of this process begins. It ends with `leave`. `again` as in `Proxy.enter`. */
  enter(session: Session, node: string, again: () => void): ProxyStream {
    const holder = holderOf(session);
    this.#forgetOver(holder);
    const proxy = this.#proxies.get(holder) ?? this.#add(holder, descriptionOf(session, node));
    const stream = proxy.enter(again);
    this.#gone.delete(holder);
    return {
      ...stream,
      leave: () => {
        stream.leave();
        if (!proxy.hasStreams && this.#proxies.get(holder) === proxy) this.#remember(holder);
      },
    };
  }

  #add(holder: string, description: string): Proxy {
    const proxy = new Proxy({
      registry: this.#registry,
      clock: this.#clock,
      ...{ holder, description },
    });
    this.#proxies.set(holder, proxy);
    return proxy;
  }

  #remember(holder: string): void {
    this.#gone.delete(holder);
    this.#gone.add(holder);
    this.#forgetOver(holder);
    const [oldest] = this.#gone;
    if (oldest === undefined) return;
    if (this.#gone.size > maximumGone) this.#forget(oldest);
    else this.#forgetOver(oldest);
  }

  /** Forgets this proxy if it has no streams and nothing of it counts. */
  #forgetOver(holder: string): void {
    const proxy = this.#gone.has(holder) ? this.#proxies.get(holder) : undefined;
    if (proxy?.counts(this.#clock.now()) === false) this.#forget(holder);
  }

  #forget(holder: string): void {
    this.#gone.delete(holder);
    this.#proxies.delete(holder);
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
