/**
 * The metadata by which a caller states the size of the largest message that its client takes, in
 * bytes. Not of the specification: without it the default of gRPC clients counts.
 */
const largestMessageKey = 'meshca-largest-message';
/** What gRPC clients take unless they set another limit. */
const defaultLargestMessage = 4 * 1024 * 1024;

/** The size of the largest message that the caller of a stream takes. */
export function largestMessageOf(metadata: { get(key: string): readonly unknown[] }): number {
  const [stated] = metadata.get(largestMessageKey);
  return typeof stated === 'string' && /^[1-9]\d{0,9}$/.test(stated)
    ? Number(stated)
    : defaultLargestMessage;
}

/** Owner of the streams that now lack the CRLs, because these do not fit into their messages. */
export class StreamsWithoutCrls {
  readonly #streams = new Set<object>();

  /** To be told of each message of a stream. */
  sent(stream: object, crlsLeftOut: boolean): void {
    if (crlsLeftOut) this.#streams.add(stream);
    else this.#streams.delete(stream);
  }

  ended(stream: object): void {
    this.#streams.delete(stream);
  }

  get size(): number {
    return this.#streams.size;
  }

  /** What a person should know. */
  note(): string | undefined {
    const { size } = this.#streams;
    return size === 0
      ? undefined
      : `${size} ${size === 1 ? 'stream of a workload' : 'streams of workloads'} without ` +
          'CRLs: with them a message would be larger than the client takes ' +
          `(${defaultLargestMessage / 1024 / 1024} MiB unless it states more), so that ` +
          'certificates and bundles are sent alone; rotate the issuing authority, whose CRL ' +
          'begins empty';
  }
}
