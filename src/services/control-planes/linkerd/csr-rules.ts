import { fail, ok, type Result } from '../../../common/errors/index.ts';
import { parseCsr, type ParsedCsr } from '../../../certs/index.ts';

/**
 * The CSR of a proxy by the rules of Linkerd's identity service: exactly one DNS name, which is the
 * identity; no URI, address or e-mail; a common name that is empty or the same. Fails with the codes
 * of `parseCsr`, or CSR_IDENTITY_MISMATCH.
 */
export function proxyCsr(csrDer: Buffer, identity: string): Result<ParsedCsr> {
  const parsed = parseCsr(csrDer);
  if (!parsed.ok) return parsed;
  const problem = nameProblem(parsed.value, identity);
  return problem === undefined ? ok(parsed.value) : fail('CSR_IDENTITY_MISMATCH', problem);
}

function nameProblem(
  { uriSans, dnsSans, otherSanKinds, commonNames }: ParsedCsr,
  identity: string,
): string | undefined {
  if (uriSans.length > 0) return 'the request of a proxy names no URI';
  if (otherSanKinds.length > 0)
    return `the request names a SAN of kind ${otherSanKinds[0]}, which no proxy has`;
  if (dnsSans.length !== 1 || dnsSans[0] !== identity)
    return `the request must name ${identity} as its only DNS name; it has ${dnsSans.length} of them`;
  const other = commonNames.find((name) => name !== '' && name !== identity);
  return other === undefined
    ? undefined
    : `the common name of the request is neither empty nor ${identity}`;
}
