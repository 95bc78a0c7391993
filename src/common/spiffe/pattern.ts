import { fail, ok, type Result } from '../errors/index.ts';
import { SpiffeId } from './spiffe-id.ts';

/**
 * A set of SPIFFE IDs in one trust domain: `*` stands for exactly one whole segment, and only a
 * trailing `/**` crosses segments (one or more). Nothing else is special, and a `*` never stands
 * for part of a segment.
 */
export class SpiffeIdPattern {
  readonly text: string;
  readonly #trustDomainName: string;
  readonly #segments: readonly string[];
  readonly #open: boolean;

  private constructor(
    text: string,
    trustDomainName: string,
    segments: readonly string[],
    open: boolean,
  ) {
    this.text = text;
    this.#trustDomainName = trustDomainName;
    this.#segments = segments;
    this.#open = open;
  }

  static parse(text: string): Result<SpiffeIdPattern> {
    const open = text.endsWith('/**');
    const body = open ? text.slice(0, -3) : text;
    // a letter stands for a wildcard segment, so that the rules of IDs apply to the rest
    const sample = SpiffeId.parse(
      body
        .split('/')
        .map((segment, index) => (index > 2 && segment === '*' ? 'x' : segment))
        .join('/'),
    );
    if (!sample.ok)
      return fail('PATTERN_INVALID', `pattern ${JSON.stringify(text)}: ${sample.error.message}`);
    if (!open && sample.value.path === '')
      return fail(
        'PATTERN_INVALID',
        `pattern ${JSON.stringify(text)} names a trust domain, not an identity in it`,
      );
    const segments = body.split('/').slice(3);
    return ok(new SpiffeIdPattern(text, sample.value.trustDomain.name, segments, open));
  }

  matches(id: SpiffeId): boolean {
    if (id.trustDomain.name !== this.#trustDomainName) return false;
    const segments = id.segments;
    if (
      this.#open
        ? segments.length <= this.#segments.length
        : segments.length !== this.#segments.length
    )
      return false;
    return this.#segments.every((wanted, index) => wanted === '*' || wanted === segments[index]);
  }

  get trustDomainName(): string {
    return this.#trustDomainName;
  }

  toString(): string {
    return this.text;
  }
}
