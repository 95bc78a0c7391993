import { fail, ok, type Result } from '../errors/index.ts';
import { isReserved } from './reserved.ts';
import type { Selector } from './selector.ts';
import { isPathSegment, SpiffeId } from './spiffe-id.ts';

/**
 * Allowed values per placeholder name (`unix.user`). A placeholder without an entry here can not be
 * filled.
 */
export type AllowedValues = ReadonlyMap<string, readonly string[]>;

interface Segment {
  readonly before: string;
  /** Undefined if the segment is fixed text, all of it in `before`. */
  readonly placeholder: string | undefined;
  readonly after: string;
}

const placeholderPattern = /^([^{}]*)\{([a-z][a-z0-9_]*\.[a-z][a-z0-9_-]*)\}([^{}]*)$/;
const maximumPlaceholders = 8;

/**
 * A SPIFFE ID with placeholders. `{unix.user}` stands for the value of the selector of type `unix`
 * and key `user` (`unix:user:alice` gives `alice`), as a whole path segment or as part of one. The
 * trust domain is never a placeholder, and a segment has at most one, since two would let different
 * pairs of values give the same ID.
 */
export class Template {
  readonly text: string;
  readonly trustDomainName: string;
  /** Names in order of appearance, each once. */
  readonly placeholders: readonly string[];
  readonly #segments: readonly Segment[];

  private constructor(text: string, trustDomainName: string, segments: readonly Segment[]) {
    this.text = text;
    this.trustDomainName = trustDomainName;
    this.#segments = segments;
    this.placeholders = [
      ...new Set(
        segments.flatMap(({ placeholder }) => (placeholder === undefined ? [] : [placeholder])),
      ),
    ];
  }

  /** Fails with TEMPLATE_INVALID, or SPIFFE_ID_RESERVED where every filling would be reserved. */
  static parse(text: string): Result<Template> {
    const invalid = (why: string): ReturnType<typeof fail> =>
      fail('TEMPLATE_INVALID', `template ${JSON.stringify(text.slice(0, 200))} ${why}`);
    const parts = text.split('/');
    const segments: Segment[] = [];
    for (const [index, part] of parts.entries()) {
      if (index < 3) {
        if (/[{}]/.test(part)) return invalid('has a placeholder outside its path');
        continue;
      }
      if (!/[{}]/.test(part)) {
        segments.push({ before: part, placeholder: undefined, after: '' });
        continue;
      }
      const found = placeholderPattern.exec(part);
      if (found === null)
        return invalid(
          `has the segment ${JSON.stringify(part.slice(0, 80))}, which is not fixed text with one {type.key}`,
        );
      segments.push({
        before: found[1] as string,
        placeholder: found[2] as string,
        after: found[3] as string,
      });
    }
    const count = segments.filter(({ placeholder }) => placeholder !== undefined).length;
    if (count === 0) return invalid('has no placeholder');
    if (count > maximumPlaceholders)
      return invalid(`has more than ${maximumPlaceholders} placeholders`);
    // with a letter for each placeholder, the fixed text must obey the rules of an ID
    const sample = SpiffeId.parse(
      [
        ...parts.slice(0, 3),
        ...segments.map(
          (segment) =>
            segment.before + (segment.placeholder === undefined ? '' : 'x') + segment.after,
        ),
      ].join('/'),
    );
    if (!sample.ok) return invalid(`is no SPIFFE ID when filled: ${sample.error.message}`);
    if (isReserved(sample.value))
      return fail(
        'SPIFFE_ID_RESERVED',
        `template ${JSON.stringify(text)} lies below the reserved path /meshca`,
      );
    return ok(new Template(text, sample.value.trustDomain.name, segments));
  }

  /**
   * The ID for a process with these selectors. A value must be in the allowed list and be one path
   * segment; where a key has several values (groups), exactly one of them may be allowed. Fails
   * with TEMPLATE_INVALID, SPIFFE_ID_INVALID or SPIFFE_ID_RESERVED.
   */
  fill(selectors: readonly Selector[], allowed: AllowedValues): Result<SpiffeId> {
    const values = new Map<string, string>();
    for (const placeholder of this.placeholders) {
      const value = valueOf(placeholder, selectors, allowed.get(placeholder) ?? []);
      if (!value.ok) return value;
      values.set(placeholder, value.value);
    }
    const path = this.#segments
      .map(
        ({ before, placeholder, after }) =>
          `/${before}${placeholder === undefined ? '' : (values.get(placeholder) as string)}${after}`,
      )
      .join('');
    const id = SpiffeId.parse(`spiffe://${this.trustDomainName}${path}`);
    if (id.ok && isReserved(id.value))
      return fail('SPIFFE_ID_RESERVED', `${id.value.toString()} is reserved for the CA`);
    return id;
  }

  /**
   * Whether some process could get this ID, for the rule that no template produces an ID that
   * another entry states.
   */
  canProduce(id: SpiffeId, allowed: AllowedValues): boolean {
    const found = id.segments;
    if (id.trustDomain.name !== this.trustDomainName || found.length !== this.#segments.length)
      return false;
    const values = new Map<string, string>();
    return this.#segments.every(({ before, placeholder, after }, index) => {
      const segment = found[index] as string;
      if (placeholder === undefined) return segment === before;
      if (
        segment.length <= before.length + after.length ||
        !segment.startsWith(before) ||
        !segment.endsWith(after)
      )
        return false;
      const value = segment.slice(before.length, segment.length - after.length);
      const earlier = values.get(placeholder);
      values.set(placeholder, value);
      return (
        (earlier === undefined || earlier === value) &&
        isPathSegment(value) &&
        (allowed.get(placeholder) ?? []).includes(value)
      );
    });
  }

  toString(): string {
    return this.text;
  }
}

export const parseTemplate = (text: string): Result<Template> => Template.parse(text);

function valueOf(
  placeholder: string,
  selectors: readonly Selector[],
  allowed: readonly string[],
): Result<string> {
  const dot = placeholder.indexOf('.');
  const type = placeholder.slice(0, dot);
  const prefix = `${placeholder.slice(dot + 1)}:`;
  const found = new Set<string>();
  for (const selector of selectors) {
    if (selector.type !== type || !selector.value.startsWith(prefix)) continue;
    const value = selector.value.slice(prefix.length);
    if (allowed.includes(value) && isPathSegment(value)) found.add(value);
  }
  const [only] = found;
  if (only === undefined)
    return fail('TEMPLATE_INVALID', `the process has no allowed value for {${placeholder}}`);
  if (found.size > 1)
    return fail(
      'TEMPLATE_INVALID',
      `the process has ${found.size} allowed values for {${placeholder}}, and only one can fill it`,
    );
  return ok(only);
}
