import { PkiError } from '../../common/errors/index.ts';
import type { ReplacementFeed } from './replacement-feed.ts';
import type { OpenStream } from '../callers/delegate-streams.ts';
import type { CrlState, TaintState, TrustState, WatchMessage, WatchTransport } from './watch.ts';
import type { WatchState } from './watch-state.ts';

type OpenFeed = (ready: (failed?: PkiError) => void) => ReplacementFeed;

interface Sent {
  trust?: TrustState;
  crls?: CrlState;
  taints?: readonly TaintState[];
  renewNow?: string;
}

/**
 * What one stream was sent. It keeps no queue: when the transport takes more, it sends what differs
 * from the present state. Owner: the hub.
 */
export class WatchSession {
  readonly #stream: OpenStream;
  readonly #transport: WatchTransport;
  readonly #state: WatchState;
  readonly #withoutCrls: boolean;
  readonly #replacements: ReplacementFeed | undefined;
  readonly #sent: Sent = {};
  #blocked = false;
  #ended = false;

  constructor(
    stream: OpenStream,
    transport: WatchTransport,
    from: {
      readonly state: WatchState;
      readonly withoutCrls: boolean;
      readonly replacements: OpenFeed | undefined;
    },
  ) {
    this.#stream = stream;
    this.#transport = transport;
    this.#state = from.state;
    this.#withoutCrls = from.withoutCrls;
    this.#replacements = from.replacements?.((failed) =>
      failed === undefined ? this.pump() : this.close(failed),
    );
  }

  get clientId(): string {
    return this.#stream.caller.spiffeId;
  }

  /** The latest end of the certificate of this connection, Unix seconds. */
  get notAfter(): number {
    return this.#stream.caller.notAfter;
  }

  drained(): void {
    this.#blocked = false;
    this.pump();
  }

  /** Certificates of this control plane may have to be replaced. */
  replacementsChanged(): void {
    this.#replacements?.poke();
  }

  /** Sends what has changed since the last message. */
  pump(): void {
    try {
      while (!this.#blocked && !this.#ended) {
        const message = this.#changes();
        if (Object.keys(message).length === 0) return;
        this.#blocked = !this.#transport.send(message);
      }
    } catch (thrown) {
      this.close(PkiError.from(thrown));
    }
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#replacements?.end();
    this.#stream.closed();
  }

  close(error: PkiError): void {
    if (this.#ended) return;
    this.end();
    this.#transport.close(error);
  }

  #changes(): WatchMessage {
    const sent = this.#sent;
    const state = this.#state;
    const trust = state.trust();
    const crls = this.#withoutCrls ? (sent.crls ?? noCrls) : state.crls();
    const taints = state.taints();
    const renewNow = state.renewNow(this.#stream.caller);
    const renewText = JSON.stringify(renewNow);
    const message: WatchMessage = {
      ...(trust.sequence === sent.trust?.sequence ? {} : { trust }),
      ...(sameCrls(crls, sent.crls) ? {} : { crls }),
      ...(JSON.stringify(taints) === JSON.stringify(sent.taints) ? {} : { taints }),
      ...(renewText === sent.renewNow ? {} : { renewNow }),
    };
    Object.assign(sent, { trust, crls, taints, renewNow: renewText });
    const replacements = this.#replacements?.take();
    return replacements === undefined ? message : { ...message, replacements };
  }
}

const noCrls: CrlState = { crls: [], onlyHttp: false };

/** Two CRLs of one second may agree in their dates, so that their bytes are compared. */
const sameCrls = (one: CrlState, other: CrlState | undefined): boolean =>
  one === other ||
  (other !== undefined &&
    one.onlyHttp === other.onlyHttp &&
    one.crls.length === other.crls.length &&
    one.crls.every(({ der }, index) => der.equals(other.crls[index]?.der as Buffer)));
