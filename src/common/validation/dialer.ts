import { connect, isIP, type Socket } from 'node:net';
import { AddressPolicy, isByConfiguration, refusalText } from './address-policy.ts';
import { forbiddenHere, invalid, type Judged, type ValidationFailure } from './outcome.ts';

export interface DialerDependencies {
  /** IPv6 first. An empty list: the name has no address. */
  readonly addressesOf: (name: string, signal: AbortSignal) => Promise<Judged<readonly string[]>>;
  readonly policy: Pick<AddressPolicy, 'refusal'>;
  /** For one address. The next one is tried afterwards. */
  readonly connectTimeoutMs: number;
}

/** Whoever owns a name decides how many addresses it has, and every failure is on record. */
const maximumReasons = 8;

/** A connection, with the address that was dialled. */
export interface Dialled {
  readonly socket: Socket;
  readonly address: string;
}

/**
 * Connects to a host of a validation. It resolves names itself and dials addresses alone, so that
 * nothing can resolve a name again after its address was judged.
 */
export class Dialer {
  readonly #dependencies: DialerDependencies;

  constructor(dependencies: DialerDependencies) {
    this.#dependencies = dependencies;
  }

  /** @param host a DNS name, or an IP address in canonical text */
  async dial(host: string, port: number, signal: AbortSignal): Promise<Judged<Dialled>> {
    const { addressesOf, policy } = this.#dependencies;
    const resolved: Judged<readonly string[]> =
      isIP(host) === 0 ? await addressesOf(host, signal) : { ok: true, value: [host] };
    if (!resolved.ok) return resolved;
    if (resolved.value.length === 0)
      return invalid(
        'dns',
        `${host} has no A or AAAA record at the name servers that this CA asks`,
      );
    const reasons: string[] = [];
    const attempted: string[] = [];
    let failure: ValidationFailure['type'] = 'rejectedIdentifier';
    let isForbidden = true;
    for (const address of resolved.value) {
      const refusal = policy.refusal(address, port);
      isForbidden &&= isByConfiguration(refusal);
      if (refusal !== undefined) {
        reasons.push(`${address} was not dialled: ${refusalText[refusal]}`);
        continue;
      }
      failure = 'connection';
      attempted.push(`${address} port ${port}`);
      const attempt = await this.#connect(address, port, signal);
      if (typeof attempt !== 'string') return { ok: true, value: { socket: attempt, address } };
      reasons.push(`${address}: ${attempt}`);
      if (signal.aborted) break;
    }
    const more = reasons.length - maximumReasons;
    const text = reasons.slice(0, maximumReasons).join('; ');
    const detail = `no connection to ${host} port ${port}: ${text}${more > 0 ? `; and ${more} more` : ''}`;
    return isForbidden ? forbiddenHere(failure, detail) : invalid(failure, detail, attempted);
  }

  /** Resolves with the reason of a failure. */
  #connect(address: string, port: number, signal: AbortSignal): Promise<Socket | string> {
    return new Promise((resolve) => {
      const socket = connect({ host: address, port, signal, autoSelectFamily: false });
      const timer = setTimeout(
        () => give('it did not answer in time'),
        this.#dependencies.connectTimeoutMs,
      );
      const give = (reason: string): void => {
        clearTimeout(timer);
        socket.destroy();
        resolve(reason);
      };
      socket.once('error', (error: NodeJS.ErrnoException) =>
        give(signal.aborted ? 'the time of the validation is over' : (error.code ?? 'it failed')),
      );
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.removeAllListeners('error');
        // whoever takes it over reads its errors in their own way
        socket.on('error', () => {});
        resolve(socket);
      });
    });
  }
}
