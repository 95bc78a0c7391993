import { fail, ok, unwrap, type Result } from '../errors/index.ts';

const maximumIdBytes = 2048;
const maximumTrustDomainLength = 255;
/** With such a path no ID is too long. */
const maximumPathLength = maximumIdBytes - 'spiffe://'.length - maximumTrustDomainLength;
const trustDomainPattern = /^[a-z0-9._-]+$/;
const segmentPattern = /^[A-Za-z0-9._-]+$/;
/** Segments as `segmentPattern` has them, none of which is . or .. */
const pathPattern = /^(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]+)+$/;

/** A validated trust domain name, without scheme (SPIFFE-ID section 2.1). */
export class TrustDomain {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  static parse(text: string): Result<TrustDomain> {
    const name = text.startsWith('spiffe://') ? text.slice('spiffe://'.length) : text;
    if (name.length === 0) return fail('TRUST_DOMAIN_INVALID', 'the trust domain is empty');
    if (name.length > maximumTrustDomainLength)
      return fail(
        'TRUST_DOMAIN_INVALID',
        `the trust domain has ${name.length} characters, more than ${maximumTrustDomainLength}`,
      );
    if (!trustDomainPattern.test(name))
      return fail(
        'TRUST_DOMAIN_INVALID',
        `trust domain ${JSON.stringify(name)} has a character outside [a-z0-9._-]`,
      );
    return ok(new TrustDomain(name));
  }

  /** For a name that is compared and becomes part of IDs, as in a configuration. */
  static parseName(text: string): Result<TrustDomain> {
    return text.includes('/') || text.includes(':')
      ? fail(
          'TRUST_DOMAIN_INVALID',
          `trust domain ${JSON.stringify(text.slice(0, 200))} is not a name alone: leave out "spiffe://" and any path`,
        )
      : TrustDomain.parse(text);
  }

  static of(text: string): TrustDomain {
    return unwrap(TrustDomain.parse(text));
  }

  /** `spiffe://name` */
  get id(): string {
    return `spiffe://${this.name}`;
  }

  equals(other: TrustDomain): boolean {
    return this.name === other.name;
  }

  toString(): string {
    return this.name;
  }
}

/**
 * A validated SPIFFE ID. `path` is empty for the ID of the trust domain itself, else starts with a
 * slash (SPIFFE-ID section 2).
 */
export class SpiffeId {
  readonly trustDomain: TrustDomain;
  readonly path: string;
  readonly #text: string;
  /** Once it was asked for. */
  #segments: readonly string[] | undefined;

  private constructor(trustDomain: TrustDomain, path: string) {
    this.trustDomain = trustDomain;
    this.path = path;
    this.#text = trustDomain.id + path;
  }

  static parse(text: string): Result<SpiffeId> {
    if (!text.startsWith('spiffe://'))
      return fail('SPIFFE_ID_INVALID', `${quote(text)} does not start with spiffe://`);
    if (Buffer.byteLength(text) > maximumIdBytes)
      return fail('SPIFFE_ID_INVALID', `the ID has more than ${maximumIdBytes} bytes`);
    const slash = text.indexOf('/', 'spiffe://'.length);
    const trustDomain = TrustDomain.parse(
      text.slice('spiffe://'.length, slash < 0 ? undefined : slash),
    );
    if (!trustDomain.ok)
      return fail('SPIFFE_ID_INVALID', `${quote(text)}: ${trustDomain.error.message}`);
    return SpiffeId.#withPath(trustDomain.value, slash < 0 ? '' : text.slice(slash));
  }

  static #withPath(trustDomain: TrustDomain, path: string): Result<SpiffeId> {
    if (path === '' || pathPattern.test(path)) return ok(new SpiffeId(trustDomain, path));
    return fail('SPIFFE_ID_INVALID', `${quote(trustDomain.id + path)} ${pathProblem(path)}`);
  }

  static of(text: string): SpiffeId {
    return unwrap(SpiffeId.parse(text));
  }

  /** Builds an ID from a path that starts with a slash; throws SPIFFE_ID_INVALID. */
  static in(trustDomain: TrustDomain, path: string): SpiffeId {
    // the trust domain is valid, and a short path that begins with a slash can not change it
    return path.startsWith('/') && path.length <= maximumPathLength
      ? unwrap(SpiffeId.#withPath(trustDomain, path))
      : SpiffeId.of(trustDomain.id + path);
  }

  get segments(): readonly string[] {
    this.#segments ??= this.path === '' ? [] : this.path.slice(1).split('/');
    return this.#segments;
  }

  equals(other: SpiffeId): boolean {
    return this.#text === other.#text;
  }

  toString(): string {
    return this.#text;
  }

  toJSON(): string {
    return this.#text;
  }
}

/**
 * Whether a text is one path segment of a SPIFFE ID, which a placeholder of a template may fill.
 */
export const isPathSegment = (text: string): boolean =>
  segmentPattern.test(text) && text !== '.' && text !== '..';

/** Why a path does not match `pathPattern`. */
function pathProblem(path: string): string {
  for (const segment of path.slice(1).split('/')) {
    if (segment === '') return 'has an empty path segment or a trailing slash';
    if (segment === '.' || segment === '..') return `has the path segment ${segment}`;
    if (!segmentPattern.test(segment))
      return `has a character outside [A-Za-z0-9._-] in segment ${quote(segment)}`;
  }
  return 'has an invalid path';
}

const quote = (text: string): string =>
  JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
