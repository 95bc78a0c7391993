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

/**
 * `reservationOf` for a name of a certificate: `*.` at its beginning stands for every label, so that
 * it must not reach a reserved name.
 */
export function reservationReached(
  name: string,
  reserved: readonly ReservedDnsName[],
): ReservedDnsName | undefined {
  const covered = reservationOf(name, reserved);
  if (covered !== undefined || !name.startsWith('*.')) return covered;
  const above = name.slice(1).toLowerCase();
  return reserved.find((each) => {
    const bare = (each.startsWith('*.') ? each.slice(2) : each).toLowerCase();
    return bare.endsWith(above) && !bare.slice(0, -above.length).includes('.');
  });
}

/** What the message of a refusal says of a reserved name. */
export const reservedText = (name: string, reservation: ReservedDnsName): string =>
  reservation.startsWith('*.')
    ? `${name} is in ${reservation.slice(2)}, where the CA itself gives all names`
    : name === reservation
      ? `${name} is a name of the CA itself`
      : `${name} stands for ${reservation}, a name of the CA itself, too`;

function isCovered(name: string, reservation: string): boolean {
  if (!reservation.startsWith('*.')) return name === reservation;
  const suffix = reservation.slice(2);
  return name === suffix || name.endsWith(`.${suffix}`);
}
