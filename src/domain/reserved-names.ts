/**
 * A DNS name that only the CA itself gives: that name, or `*.SUFFIX` for SUFFIX and every name below
 * it, at any depth. The names of Linkerd's proxies are reserved in the second form: only Certify
 * gives them.
 */
export type ReservedDnsName = string;

/**
 * The reservation that covers this name, or every name of this pattern (where `*` is one label);
 * undefined: none.
 */
export const reservationOf = (
  name: string,
  reserved: readonly ReservedDnsName[],
): ReservedDnsName | undefined =>
  reserved.find((each) => isCovered(name.toLowerCase(), each.toLowerCase()));

/** What the message of a refusal says of a reserved name. */
export const reservedText = (name: string, reservation: ReservedDnsName): string =>
  reservation.startsWith('*.')
    ? `${name} is in ${reservation.slice(2)}, where the CA itself gives all names`
    : `${name} is a name of the CA itself`;

function isCovered(name: string, reservation: string): boolean {
  if (!reservation.startsWith('*.')) return name === reservation;
  const suffix = reservation.slice(2);
  return name === suffix || name.endsWith(`.${suffix}`);
}
