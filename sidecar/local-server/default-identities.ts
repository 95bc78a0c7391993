import type { Identity } from '../ports/entries.ts';
import type { LocalConnection } from './local-connection.ts';

type Caller = Pick<LocalConnection, 'pid' | 'peer'>;

const maximumProcesses = 10_000;

/**
 * The identity that each process was given as its default, over all its calls and APIs. A process
 * that runs does not change its identity because an entry was added, or because the SVID of an
 * earlier entry came later. Owner of that state: it outlives streams, which processes reopen, and
 * ends with the agent.
 */
export class DefaultIdentities {
  /** SPIFFE IDs by process, the one that was given longest ago first. */
  readonly #given = new Map<string, string>();

  /** These identities with the default first: what was given before, while it is among them. */
  ordered(caller: Caller, identities: readonly Identity[]): readonly Identity[] {
    const given = this.#given.get(keyOf(caller));
    const index = identities.findIndex(({ spiffeId }) => spiffeId.toString() === given);
    if (index <= 0) return identities;
    return [
      identities[index] as Identity,
      ...identities.slice(0, index),
      ...identities.slice(index + 1),
    ];
  }

  /** The process was given this identity as its default. */
  give(caller: Caller, { spiffeId }: Identity): void {
    const key = keyOf(caller);
    this.#given.delete(key);
    this.#given.set(key, spiffeId.toString());
    const [oldest] = this.#given.keys();
    if (this.#given.size > maximumProcesses && oldest !== undefined) this.#given.delete(oldest);
  }
}

/** A process ID is given again, and the start tells its holders apart. */
const keyOf = ({ pid, peer }: Caller): string => `${pid} ${peer?.image.startTime ?? ''}`;
