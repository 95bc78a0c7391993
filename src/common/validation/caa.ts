import { invalid, type Judged } from './outcome.ts';
import { parameters } from './parameters.ts';

/** A property of a CAA record (RFC 8659 section 4.1). The tag is in lower case. */
export interface CaaProperty {
  readonly critical: boolean;
  readonly tag: string;
  readonly value: string;
}

export interface CaaAsk {
  /** Without `*.`. */
  readonly name: string;
  readonly wildcard: boolean;
  readonly accountUri: string;
  /** Such as `http-01`. */
  readonly method: string;
}

export interface CaaDependencies {
  /** The properties at exactly this name, aliases followed. Empty: it has none. */
  readonly propertiesAt: (
    name: string,
    signal: AbortSignal,
  ) => Promise<Judged<readonly CaaProperty[]>>;
  /** The names under which this CA is allowed to issue (`caaIdentities` of the directory). */
  readonly identities: readonly string[];
}

/** The tags that are understood here. An unknown one that is critical forbids to issue. */
const understood: ReadonlySet<string> = new Set(['issue', 'issuewild', 'iodef', 'contactemail']);

/**
 * Whether CAA lets this CA issue for a name: the closest set of properties on the way from the name
 * to its top-level domain decides (RFC 8659 section 3), with the parameters `accounturi` and
 * `validationmethods` of RFC 8657. A lookup that fails forbids to issue.
 */
export async function checkCaa(
  ask: CaaAsk,
  { propertiesAt, identities }: CaaDependencies,
  signal: AbortSignal,
): Promise<Judged<undefined>> {
  const labels = ask.name.split('.');
  for (let from = 0; from < labels.length; from += 1) {
    const at = labels.slice(from).join('.');
    const properties = await propertiesAt(at, signal);
    if (!properties.ok) return properties;
    if (properties.value.length === 0) continue;
    const problem = caaProblem(properties.value, ask, identities);
    return problem === undefined
      ? { ok: true, value: undefined }
      : invalid('caa', `the CAA records of ${at} forbid to issue for ${ask.name}: ${problem}`);
  }
  return { ok: true, value: undefined };
}

/** Why this set of properties forbids to issue; undefined: it does not. Pure. */
export function caaProblem(
  properties: readonly CaaProperty[],
  ask: CaaAsk,
  identities: readonly string[],
): string | undefined {
  const unknown = properties.find(({ critical, tag }) => critical && !understood.has(tag));
  if (unknown !== undefined)
    return `the critical property ${JSON.stringify(unknown.tag.slice(0, 30))} is not understood`;
  const tagged = (tag: string): readonly CaaProperty[] =>
    properties.filter((property) => property.tag === tag);
  const forWildcards = ask.wildcard ? tagged('issuewild') : [];
  const deciding = forWildcards.length > 0 ? forWildcards : tagged('issue');
  if (deciding.length === 0) return undefined;
  const reasons = deciding.map(({ value }) => refusalOf(value, ask, identities));
  if (reasons.includes(undefined)) return undefined;
  // a property that names this CA says most of what is missing
  return (
    reasons.find((reason) => reason !== otherIssuer) ??
    `${otherIssuer}, and not ${identities.join(' or ') || 'this one, which has no caaIdentities'}`
  );
}

const otherIssuer = 'they allow other CAs only';

/** Undefined: this property allows the request. */
function refusalOf(
  value: string,
  { accountUri, method }: CaaAsk,
  identities: readonly string[],
): string | undefined {
  const [issuer = '', ...texts] = value.split(';').map((part) => part.trim());
  if (!identities.includes(issuer.toLowerCase())) return otherIssuer;
  // a single `;` behind the issuer says nothing
  const stated = parameters(texts.length === 1 && texts[0] === '' ? [] : texts);
  if (stated === undefined) return 'a parameter of the property that names this CA is malformed';
  const account = stated.get('accounturi');
  if (account !== undefined && account !== accountUri) return 'they allow another account only';
  const methods = stated.get('validationmethods');
  return methods === undefined || methods.split(',').includes(method)
    ? undefined
    : `they do not allow the method ${method}`;
}
