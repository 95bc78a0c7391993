import { domainToASCII } from 'node:url';
import { fail, ok, type Result } from '../errors/index.ts';
import { parseDnsName } from '../spiffe/index.ts';

/**
 * A set of DNS names: `*` stands for exactly one whole label, and only a leading `**.` crosses labels
 * (one or more). A name of a request may begin with `*.`: it then stands for all names with one label
 * in that place.
 */
export class DnsPattern {
  readonly text: string;
  /** From the right. */
  readonly #labels: readonly string[];
  readonly #open: boolean;
  /** What stands behind the last `*`; a name without `*` that ends otherwise is not in the set. */
  readonly #end: string;

  private constructor(text: string, labels: readonly string[], open: boolean) {
    this.text = text;
    this.#labels = labels;
    this.#open = open;
    this.#end = text.slice(text.lastIndexOf('*') + 1);
  }

  static parse(text: string): Result<DnsPattern> {
    const open = text.startsWith('**.');
    const body = open ? text.slice(3) : text;
    // a letter stands for a wildcard label, so that the rules of names apply to the rest
    const sample = parseDnsName(
      body
        .split('.')
        .map((label) => (label === '*' ? 'x' : label))
        .join('.'),
    );
    if (!sample.ok)
      return fail(
        'POLICY_INVALID',
        `the DNS pattern ${JSON.stringify(text)}: ${sample.error.message}; write an international name with its "xn--" labels`,
      );
    if (body.split('.').every((label) => label === '*'))
      return fail('POLICY_INVALID', `the DNS pattern ${JSON.stringify(text)} matches every name`);
    return ok(new DnsPattern(text, body.split('.').reverse(), open));
  }

  /** Whether each name for which this name stands is in the set. What is no name never is. */
  covers(name: string): boolean {
    return (
      this.#compare(name, (wanted, label) => wanted === '*' || wanted === label) &&
      parseDnsName(name.startsWith('*.') ? name.slice(2) : name).ok
    );
  }

  /**
   * Whether some name for which this name stands is in the set. Other spellings of a name count as
   * the name, since a reader may take them for it.
   */
  touches(name: string): boolean {
    return this.#compare(
      plain(name),
      (wanted, label) => wanted === '*' || label === '*' || wanted === label,
    );
  }

  #compare(name: string, same: (wanted: string, label: string) => boolean): boolean {
    if (!name.endsWith(this.#end) && !name.includes('*')) return false;
    const labels = name.split('.').reverse();
    if (this.#open ? labels.length <= this.#labels.length : labels.length !== this.#labels.length)
      return false;
    return this.#labels.every((wanted, index) => same(wanted, labels[index] as string));
  }
}

/** Lower case, `xn--` labels, no final dot. */
function plain(name: string): string {
  if (/^[a-z0-9.*-]*[a-z0-9]$/.test(name)) return name;
  return (domainToASCII(name) || name.toLowerCase()).replace(/\.$/, '');
}
