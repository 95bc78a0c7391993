import type { Intent, OwnedNames } from '../../domain/index.ts';
import type { CertificateFilter } from '../ports/index.ts';
import type { Engine } from './engine.ts';

/**
 * The name of a certificate as a key of its table. The labels of a DNS name stand in reverse order,
 * so that all names below a suffix are one range.
 */
const dnsKey = (name: string): string => `dns:${name.split('.').reverse().join('.')}`;
const ipKey = (ip: string): string => `ip:${ip}`;

const keysOf = ({ dnsNames, ips }: Intent['names']): readonly string[] => [
  ...dnsNames.map(dnsKey),
  ...ips.map(ipKey),
];

interface KeyRange {
  readonly from: string;
  /** Not in the range. */
  readonly until: string;
}

/** The keys that a filter means, one range for each condition; a certificate must match all. */
export function nameRanges({ dnsName, dnsSuffix, ip }: CertificateFilter): readonly KeyRange[] {
  const only = (key: string): KeyRange => ({ from: key, until: `${key}\u0000` });
  return [
    ...(dnsName === undefined ? [] : [only(dnsKey(dnsName))]),
    // the next character after the dot, so that the range ends with the last name below the suffix
    ...(dnsSuffix === undefined
      ? []
      : [{ from: `${dnsKey(dnsSuffix)}.`, until: `${dnsKey(dnsSuffix)}/` }]),
    ...(ip === undefined ? [] : [only(ipKey(ip))]),
  ];
}

/** The keys of the names of a tenant: each suffix, and what is below it. */
export const ownedRanges = ({ dnsSuffixes }: OwnedNames): readonly KeyRange[] =>
  dnsSuffixes.flatMap((suffix) => [
    ...nameRanges({ dnsName: suffix }),
    ...nameRanges({ dnsSuffix: suffix }),
  ]);

/** Writes the names of intents, inside the caller's transaction. */
export type NameWriter = (names: Intent['names'], serial: Uint8Array) => void;

export function createNameWriter(engine: Engine): NameWriter {
  const insert = engine.statement<{ name: string; serial: Uint8Array }>()((query, slot) =>
    query
      .insertInto('certificate_names')
      .values({ name: slot('name'), serial: slot('serial') })
      .onConflict((conflict) => conflict.doNothing()),
  );
  return (names, serial) => {
    for (const name of keysOf(names)) insert.run({ name, serial });
  };
}
